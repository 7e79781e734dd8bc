"""Pull models into a store: fetch only missing files, and publish a model only if it is complete.

Files are fetched into <store>/<repo>/<revision>.partial, several at once. The folder gets its final name after every
file has the source's checksum. If a file of an existing model is damaged, only that file is fetched and replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import RoundhouseError
from ..util.progress import Progress
from . import manifest, pull_job, store, store_layout
from .download import Download, Source, Transfer
from .manifest import File
from .pull_job import PullJob, PullRequest
from .retry import Retry

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import PulledModel

# More workers hardly help: one connection to the hub gives tens of MiB/s, and four fill a usual line.
WORKERS = 4
Result = TypeVar("Result")


class Pull:
    """Pull several models. Use an instance for one `run`."""

    def __init__(
        self, place: Path, source: Source, progress: Progress, *, workers: int = WORKERS, retry: Retry | None = None
    ) -> None:
        self.place, self.source, self.progress = place, source, progress
        self.workers = workers
        self.retry = retry or Retry()
        self.stop = threading.Event()
        self.errors: dict[str, list[RoundhouseError]] = {}  # by model

    def run(self, requests: Iterable[PullRequest]) -> list[PulledModel]:
        """Pull the models and return a row for each.

        Raises RoundhouseError with a message for each failed model; the other models are complete.
        """
        asked = list(requests)
        with store.writing(self.place):
            store_layout.rename(self.place)
        with ExitStack() as locks:
            models = sorted({request.model for request in asked})
            # Locks are taken in sorted order, so that two runs cannot deadlock.
            for model in models:
                locks.enter_context(store.locked(self.place, model, self.progress.note, self.stop))
            locks.enter_context(pull_job.recorded(self.place, models, self.errors))
            return self._run([self._job(request) for request in asked])

    def _run(self, requested: list[PullJob]) -> list[PulledModel]:
        # A revision that is requested under several names gets one job, because two would write the same files.
        jobs = list({(job.model, job.revision): job for job in reversed(requested)}.values())[::-1]
        pull_job.remove_leftovers(self.place, requested)
        for job in jobs:
            with self.progress.doing(f"checking the local files of {job.model}"):
                job.find_missing()
        fetched = {job.final: [file.path for file in job.missing] for job in jobs}
        incomplete = [job for job in jobs if not job.is_done()]
        self._check(incomplete)
        self._fetch(incomplete)
        if self.errors:
            raise _combined([error for each in self.errors.values() for error in each])
        changed = {job.final for job in incomplete}
        return [
            {
                "model": job.model,
                "revision": job.revision,
                "path": str(job.final),
                "changed": job.final in changed,
                "fetched": fetched[job.final],
            }
            for job in requested
        ]

    def _job(self, request: PullRequest) -> PullJob:
        if request.files is not None:
            return PullJob(request, request.revision, request.files, self.place, self.source.name)
        model = request.model
        with self.progress.doing(f"resolving {model} at {request.revision} on {self.source.name}"):
            revision = self._retried(model, lambda: self.source.resolve(model, request.revision))
            found = manifest.read(store.folder(self.place, model, revision))
            files = found.files if found else self._retried(model, lambda: self._files(model, revision))
        return PullJob(request, revision, files, self.place, self.source.name)

    def _files(self, model: str, revision: str) -> list[File]:
        listed = self.source.files(model, revision)
        # A quantized model from another host includes its model card, which no other source has.
        cards = [file for file in listed if file.path == "README.md" and model.startswith(f"{store_layout.QUANTIZED}/")]
        return manifest.wanted(listed, model) + cards

    def _retried(self, model: str, work: Callable[[], Result]) -> Result:
        try:
            return self.retry.call(model, work, self.progress.note, self.stop)
        except RoundhouseError as error:
            self.errors[model] = [error]
            raise

    def _check(self, jobs: list[PullJob]) -> None:
        """Raise RoundhouseError before the first byte for a pull that must fail: no access, too large, no space."""
        for job in jobs:
            if job.missing:
                check = partial(self.source.check_rights, job.model, job.revision, job.missing)
                with self.progress.doing(f"checking the access to {job.model} on {self.source.name}"):
                    self._retried(job.model, check)
        needs = {f"{job.model} at {job.revision[:8]}": job.needed_bytes() for job in jobs}
        free_bytes = store.free_bytes(self.place)
        if shortage := store.shortage(str(self.place), free_bytes, needs):
            raise RoundhouseError(
                "disk_full",
                "{shortage}",
                shortage=shortage,
                path=str(self.place),
                free_bytes=free_bytes,
                needed_bytes=sum(needs.values()),
            )

    def _fetch(self, jobs: list[PullJob]) -> None:
        """Fetch the missing files, several at once, and put each failure into `errors`."""
        total = sum(file.size for job in jobs for file in job.missing)
        self.progress.expect(total, sum(job.partial_bytes() for job in jobs))
        for job in jobs:
            with store.writing(job.partial):
                job.begin()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="fetch") as pool:
            going = {id(job): [pool.submit(self._download, job, file) for file in list(job.missing)] for job in jobs}
            try:
                for job in jobs:
                    errors = [error for future in going[id(job)] if (error := _error(future))]
                    if errors := errors or self._finish(job):
                        self.errors.setdefault(job.model, []).extend(errors)
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _finish(self, job: PullJob) -> list[RoundhouseError]:
        """Give the model its final name; return the errors that prevent it."""
        try:
            with store.writing(job.final):
                job.finish()
        except RoundhouseError as error:
            return [error]
        self.progress.note(f"{job.model} is complete: {job.final}")
        return []

    def _download(self, job: PullJob, file: File) -> None:
        transfer = Transfer(
            source=self.source, came=self.progress.came, say=self.progress.note, stop=self.stop, retry=self.retry
        )
        with store.writing(job.partial / file.path):
            job.received(file, Download(transfer, job.model, job.revision, file).into(job.partial))


def _error(future: Future[None]) -> RoundhouseError | None:
    try:
        future.result()
    except RoundhouseError as error:
        if error.code == "interrupted":
            raise
        return error
    return None


def _combined(errors: list[RoundhouseError]) -> RoundhouseError:
    # A disk fails for each file alike, so its first error is enough.
    disk = next((error for error in errors if error.code in store.DISK_CODES), None)
    errors = [error for error in errors if error is disk or error.code not in store.DISK_CODES]
    if len(errors) == 1:
        return errors[0]
    messages = "\n".join(error.message for error in errors)
    return RoundhouseError("pull_failed", "{messages}", messages=messages, errors=[error.as_json() for error in errors])
