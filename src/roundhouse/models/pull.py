"""Bring models into a store: what is missing and nothing else, whole or not at all.

Files are fetched into <store>/<repo>/<revision>.partial, several at once; the folder gets its final
name once every file has been compared with the checksum that the hub states. Of a model that is
there with a damaged file, that file alone is fetched and put in its place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError
from ..util.progress import Progress
from . import manifest, pull_job, quantized, store
from .download import Fetch, Means, Patience, Source
from .manifest import File
from .pull_job import Job, Wish, take_leftovers, written

# More hardly help: a connection to the hub's network gives tens of MiB/s, and four fill a usual line.
WORKERS = 4


class Pull:
    """A pull of several models. Make one, `run` it, once."""

    def __init__(
        self,
        place: Path,
        source: Source,
        progress: Progress,
        *,
        workers: int = WORKERS,
        patience: Patience | None = None,
    ) -> None:
        self.place, self.source, self.progress = place, source, progress
        self.workers = workers
        self.patience = patience or Patience()
        self.stop = threading.Event()

    def run(self, asked: Iterable[Wish]) -> list[dict[str, Any]]:
        """Bring the models; return one {"model", "revision", "path", "changed", "fetched"} for each.

        Raises RoundhouseError with a sentence for each model that is not there at the end; those that
        could be brought are.
        """
        wishes = list(asked)
        with ExitStack() as locks:
            # In one order, so that two runs never wait for each other.
            for model in sorted({wish.model for wish in wishes}):
                locks.enter_context(store.locked(self.place, model, self.progress.note, self.stop))
            locks.enter_context(pull_job.kept(self.place, wishes))
            # One job of a revision that is asked for under several names: two would write the same file.
            found = [self._job(wish) for wish in wishes]
            jobs = list({(job.model, job.revision): job for job in reversed(found)}.values())[::-1]
            take_leftovers(self.place, found)
            for job in jobs:
                with self.progress.doing(f"reading what is here of {job.model}"):
                    job.look()
            fetched = {job.final: [file.path for file in job.missing] for job in jobs}
            todo = [job for job in jobs if not job.is_done()]
            self._check(todo)
            problems = self._fetch(todo)
            if problems:
                raise RoundhouseError("pull", "\n".join(problems))
        changed = {job.final for job in todo}
        return [
            {"model": job.model, "revision": job.revision, "path": str(job.final)}
            | {"changed": job.final in changed, "fetched": fetched[job.final]}
            for job in found
        ]

    def _job(self, wish: Wish) -> Job:
        if wish.files is not None:
            return Job(wish, wish.revision, wish.files, self.place, self.source.name)
        with self.progress.doing(f"asking {self.source.name} what {wish.model} at {wish.revision} is"):
            revision = self._patiently(wish.model, lambda: self.source.resolve(wish.model, wish.revision))
            found = manifest.read(store.folder(self.place, wish.model, revision))
            files = found.files if found else self._files(wish.model, revision)
        return Job(wish, revision, files, self.place, self.source.name)

    def _files(self, model: str, revision: str) -> list[File]:
        listed: list[File] = self._patiently(model, lambda: self.source.files(model, revision))
        # A result that was made elsewhere goes with its model card: nobody else has it.
        cards = [file for file in listed if file.path == "README.md" and model.startswith(f"{quantized.OWNER}/")]
        return manifest.wanted(listed, model) + cards

    def _patiently(self, what: str, work: Any) -> Any:
        return self.patience.call(what, work, self.progress.note, self.stop)

    def _check(self, jobs: list[Job]) -> None:
        """Refuse before the first byte what cannot end well: no rights, a file too large, no space."""
        for job in jobs:
            if job.missing:
                with self.progress.doing(f"asking {self.source.name} for the right to {job.model}"):
                    self._patiently(
                        job.model, lambda job=job: self.source.check_rights(job.model, job.revision, job.missing)
                    )
        needs = {f"{job.model} at {job.revision[:8]}": job.needs_bytes() for job in jobs}
        if said := store.shortage(str(self.place), store.free_bytes(self.place), needs):
            raise RoundhouseError("pull", said)

    def _fetch(self, jobs: list[Job]) -> list[str]:
        """Fetch everything, several files at once; return a sentence for each thing that could not be."""
        total = sum(file.size for job in jobs for file in job.missing)
        self.progress.expect(total, sum(job.has_bytes() for job in jobs))
        problems: list[str] = []
        for job in jobs:
            with written(job.partial):
                job.begin()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="fetch") as pool:
            going = {id(job): [pool.submit(self._one, job, file) for file in list(job.missing)] for job in jobs}
            try:
                for job in jobs:
                    failed = [problem for future in going[id(job)] if (problem := _problem(future))]
                    problems += failed or self._finished(job)
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return problems

    def _finished(self, job: Job) -> list[str]:
        """Give the model its name; return why it does not get it."""
        try:
            with written(job.final):
                job.finish()
        except RoundhouseError as error:
            return [error.message]
        self.progress.note(f"{job.model} is whole: {job.final}")
        return []

    def _one(self, job: Job, file: File) -> None:
        means = Means(self.source, self.progress.came, self.progress.note, self.stop, self.patience)
        with written(job.partial / file.path):
            job.got(file, Fetch(means, job.model, job.revision, file).into(job.partial))


def _problem(future: Future[None]) -> str | None:
    try:
        future.result()
    except RoundhouseError as error:
        if error.code == "interrupted":
            raise
        return error.message
    return None
