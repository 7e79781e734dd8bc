"""Show a run of site.yml: on one screen that is redrawn, or as lines of a log."""

from __future__ import annotations

import textwrap

from .setup_run import DONE, FAILED, RUNS, WAITING, Event, Run, Stage

_MARKS = {WAITING: " ", RUNS: ">", DONE: "+", FAILED: "x"}
# Columns of the name of a stage, in a terminal that is too narrow for a line.
_NARROWEST = 8
# Lines of progress.
_MOST_HOSTS = 4
# A log has the progress of a download at most every so many seconds.
_PROGRESS_SECONDS = 20.0


def screen(run: Run, width: int, now: float, before: dict[str, float], height: int | None = None) -> str:
    """Return the stages, the steps of the current one, the current task, the downloads, and the time left.

    `before` are the seconds that each stage took in an earlier run. A text of more lines than `height` is cut: steps
    first, then finished stages.
    """
    head, steps, tail = _stage_lines(run, width, now, before), _steps(run, width, now), []
    if run.now and run.now.state == RUNS:
        seconds = f" ({_time(now - run.task_begun)})" if run.task_begun is not None else ""
        tail += ["", *textwrap.wrap(f"task: {run.task or 'starting'}{seconds}", width)]
        notes = [line for note in (run.note or "").splitlines() for line in textwrap.wrap(note, width)]
        tail += notes[:_MOST_HOSTS]
    tail += ["", *textwrap.wrap(_left(run, now, before), width)]
    room = (height - len(tail)) if height else len(head) + len(steps)
    steps = steps[-(room - len(head)) :] if room > len(head) else []
    head = head[max(len(head) + len(steps) - room, 0) :]
    current = next((at + 1 for at, line in enumerate(head) if line.startswith(_MARKS[RUNS])), len(head))
    return "\n".join([*head[:current], *steps, *head[current:], *tail])


def stages(run: Run, width: int, now: float, before: dict[str, float], waits: str = "took {} last time") -> str:
    """Return a line for each stage: its state and duration; of one that waits, `waits` with the earlier duration."""
    return "\n".join(_stage(stage, width, now, before, waits) for stage in run.stages)


def _stage_lines(run: Run, width: int, now: float, before: dict[str, float]) -> list[str]:
    return stages(run, width, now, before).splitlines()


def _steps(run: Run, width: int, now: float) -> list[str]:
    """Return a line for each step of the current stage, the last ones at the end."""
    if not run.now or run.now.state != RUNS or run.now not in run.stages:
        return []
    steps = [(step.name, _time((step.ended or now) - step.begun)) for step in run.now.steps]
    return [f"    {name[: width - 16]:<{max(width - 16, 1)}} {seconds:>11}"[:width].rstrip() for name, seconds in steps]


def _stage(stage: Stage, width: int, now: float, before: dict[str, float], waits: str = "") -> str:
    if stage.begun is None:
        state = waits.format(_time(before[stage.name])) if stage.name in before else ""
    else:
        state = _outcome(stage, now)
    room = max(width - len(state) - 3, _NARROWEST)
    first, *rest = textwrap.wrap(stage.name, room)
    return "\n".join([f"{_MARKS[stage.state]} {first:<{room}} {state}".rstrip(), *(f"  {more}" for more in rest)])


def time_left(run: Run, now: float, before: dict[str, float], by: str = "the last run") -> str | None:
    """Return the time left, by the rate of downloads and the seconds `before`, which are those of `by`.

    None where it is unknown: a coming stage has no earlier duration, or the current one takes longer than it did.
    """
    coming = [stage for stage in run.stages if stage.state in (WAITING, RUNS)]
    download = run.download_seconds_left()
    left = 0.0
    for stage in coming:
        if stage is run.now and stage.state == RUNS and download is not None:
            left += download
        elif stage.name not in before or _is_late(stage, run, now, before):
            return None
        else:
            left += max(before[stage.name] - (stage.seconds(now) or 0.0), 0.0)
    return f"about {_time(left)} left, by {by}" if coming else None


def _is_late(stage: Stage, run: Run, now: float, before: dict[str, float]) -> bool:
    """Return whether the current stage takes longer than it did."""
    return stage is run.now and (stage.seconds(now) or 0.0) > before[stage.name]


def _left(run: Run, now: float, before: dict[str, float]) -> str:
    """Return the time left as a sentence, also where part of it or all is unknown."""
    download = run.download_seconds_left()
    by = "the last run" if download is None else "the download's rate and the last run"
    if left := time_left(run, now, before, by):
        return left
    if download is not None:
        return f"about {_time(download)} left of the download; the time of the later stages is unknown"
    if run.now and run.now.name in before and _is_late(run.now, run, now, before):
        return (
            f"time left: unknown ({run.now.name} takes longer than the {_time(before[run.now.name])} of the last run)"
        )
    return "time left: unknown (some stages have no recorded time yet)"


class Log:
    """The lines of a run without a terminal."""

    def __init__(self) -> None:
        self._progress: dict[str | None, float] = {}

    def line(self, each: Event, run: Run) -> str | None:
        """Return the line for an event that was fed to `run`; None for an event without one."""
        if each.what == "play" and run.now in run.stages:
            return f"== {each.play}"
        if each.what in ("progress", "note") and not self._is_too_soon(each):
            return f"   {each.host}: {each.text}"
        if each.what in ("changed", FAILED):
            return f"   {'FAILED' if each.what == FAILED else each.what} {each.task} ({each.host})"
        return None

    def _is_too_soon(self, each: Event) -> bool:
        """Return whether the host's progress was shown moments ago; other events are shown at once."""
        if each.what != "progress":
            return False
        if each.at - self._progress.get(each.host, each.at - _PROGRESS_SECONDS) < _PROGRESS_SECONDS:
            return True
        self._progress[each.host] = each.at
        return False


def summary(run: Run, now: float, width: int | None = None) -> str:
    """Return a line for each stage that ran; `width` is that of a terminal (None: unlimited)."""
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
