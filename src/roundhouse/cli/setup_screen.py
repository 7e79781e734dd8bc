"""A run of site.yml for a person: one screen that is drawn again and again, or lines for a log."""

from __future__ import annotations

import textwrap

from .setup_run import DONE, FAILED, RUNS, WAITING, Event, Run, Stage

_MARKS = {WAITING: " ", RUNS: ">", DONE: "+", FAILED: "x"}
_NARROWEST = 8  # columns of a stage's name, in a terminal that is too narrow for a line
# A log has a download's progress at most so often.
_PROGRESS_SECONDS = 20.0


def screen(run: Run, width: int, now: float, before: dict[str, float]) -> str:
    """Return the stages, the current task, a download's progress, and the time left.

    `before` are the seconds that each stage took the last time it ran whole; without them there is no time left.
    """
    lines = [stages(run, width, now, before)]
    if run.now and run.now.state == RUNS:
        lines += ["", *textwrap.wrap(f"task: {run.task or 'beginning'}", width), *textwrap.wrap(run.note or "", width)]
    if left := time_left(run, now, before):
        lines += ["", left]
    return "\n".join(lines)


def stages(run: Run, width: int, now: float, before: dict[str, float], waits: str = "took {} last time") -> str:
    """Return a line for each stage: where it is, and what it took; of one that waits, `waits` with the time of it."""
    return "\n".join(_stage(stage, width, now, before, waits) for stage in run.stages)


def _stage(stage: Stage, width: int, now: float, before: dict[str, float], waits: str = "") -> str:
    if stage.begun is None:
        told = waits.format(_time(before[stage.name])) if stage.name in before else ""
    else:
        told = _outcome(stage, now)
    room = max(width - len(told) - 3, _NARROWEST)
    first, *rest = textwrap.wrap(stage.name, room)
    return "\n".join([f"{_MARKS[stage.state]} {first:<{room}} {told}".rstrip(), *(f"  {more}" for more in rest)])


def time_left(run: Run, now: float, before: dict[str, float], by: str = "the last run") -> str | None:
    """Return how long the run goes on, by the seconds `before`, which are those of `by`.

    None where a stage that is to come was never run whole.
    """
    coming = [stage for stage in run.stages if stage.state in (WAITING, RUNS)]
    if not coming or any(stage.name not in before for stage in coming):
        return None
    left = sum(max(before[stage.name] - (stage.seconds(now) or 0.0), 0.0) for stage in coming)
    return f"about {_time(left)} left, by {by}"


class Log:
    """The lines of a run where there is no terminal."""

    def __init__(self) -> None:
        self._progress: dict[str | None, float] = {}

    def line(self, each: Event, run: Run) -> str | None:
        """Return the line for a step that was fed to `run`; None for what is no news there."""
        if each.what == "play" and run.now in run.stages:
            return f"== {each.play}"
        if each.what in ("progress", "note") and not self._is_too_soon(each):
            return f"   {each.host}: {each.text}"
        if each.what in ("changed", FAILED):
            return f"   {'FAILED' if each.what == FAILED else each.what} {each.task} ({each.host})"
        return None

    def _is_too_soon(self, each: Event) -> bool:
        """Return whether a host's progress was shown a moment ago; what is no progress is shown at once."""
        if each.what != "progress":
            return False
        if each.at - self._progress.get(each.host, each.at - _PROGRESS_SECONDS) < _PROGRESS_SECONDS:
            return True
        self._progress[each.host] = each.at
        return False


def summary(run: Run, now: float, width: int | None = None) -> str:
    """Return a line for each stage that ran; of a terminal's width, or as wide as it takes."""
    ran = [stage for stage in run.stages if stage.begun is not None]
    if width:
        return "\n".join(_stage(stage, width, now, {}) for stage in ran)
    room = max((len(stage.name) for stage in ran), default=0)
    return "\n".join(f"{_MARKS[stage.state]} {stage.name:<{room}}  {_outcome(stage, now)}" for stage in ran)


def _outcome(stage: Stage, now: float) -> str:
    seconds = _time(stage.seconds(now) or 0.0)
    if stage.tasks == 0:
        return seconds
    return f"{stage.tasks} task{'s'[: stage.tasks > 1]}, {stage.changed} changed, {seconds}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
