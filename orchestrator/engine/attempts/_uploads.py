"""Checkpoints and logs on their way from a worker to the storage, off the training path.

The ranks first tell each other what they have: a file that several have is stored once, and has to be the
same. Then each stores its own; when the message actor has heard of all, rank 0 flushes the trial's curves and
writes the manifest. So a complete checkpoint never refers to curves that were lost. A trial's log on an
object store is written on the worker's machine and put there at the trial's end.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.engine.attempts._link import Link
from orchestrator.engine.attempts._staging import Staging
from orchestrator.errors import StorageUnavailable
from orchestrator.record.attempts import Superseded
from orchestrator.record.checkpoints import CheckpointStore, Kept, Manifest
from orchestrator.record.scores import Scores
from orchestrator.record.storage import Storage
from orchestrator.record.trees import Tree, copy_tree, digests, in_common, merge, owned, read_tree
from orchestrator.record.triallog import TrialLog

if TYPE_CHECKING:
    from orchestrator.training.snapshot import TrainingSnapshot

log = logging.getLogger(__name__)


class UploadFailed(Exception):
    """A checkpoint could not be stored: the fault of the storage, not of the trial."""


class Part(Protocol):
    """One rank's part of a checkpoint, on its way."""

    def files(self) -> Path:
        """Return the directory with the files; called off the training path."""
        ...

    def discard(self) -> None:
        """Remove what there is of it on this machine."""
        ...


@dataclass(frozen=True)
class StagedPart:
    """Files that the user's code has written, in a directory of ours."""

    staging: Staging

    def files(self) -> Path:
        return self.staging.path

    def discard(self) -> None:
        self.staging.remove()


def stage(source: Path, move: bool) -> StagedPart:
    """Return a copy of a checkpoint directory that is ours: the user may delete or change theirs at once.

    Raises `CheckpointRefused`; nothing is left behind, and theirs stays, whatever is raised.
    """
    tree = read_tree(source)
    staging = Staging()
    try:
        if not move or tree.links or tree.borrowed or not _moved(source, staging.path):
            copy_tree(source, tree, staging.path)
    except BaseException:
        staging.remove()
        raise
    if move:
        shutil.rmtree(source, ignore_errors=True)
    return StagedPart(staging)


def _moved(source: Path, target: Path) -> bool:
    """Move everything in a directory; False, and nothing has happened, when it lies on another disk."""
    if source.stat().st_dev != target.stat().st_dev:
        return False
    for path in source.iterdir():
        path.rename(target / path.name)
    return True


class SnapshotPart:
    """A snapshot of the built-in loop, which is still to be written."""

    def __init__(self, snapshot: TrainingSnapshot) -> None:
        self._snapshot: TrainingSnapshot | None = snapshot
        self._staging: Staging | None = None

    def files(self) -> Path:
        assert self._snapshot is not None
        self._staging = Staging()
        self._snapshot.write(self._staging.path)
        self._snapshot = None  # its memory
        return self._staging.path

    def discard(self) -> None:
        self._snapshot = None
        if self._staging is not None:
            self._staging.remove()


class CheckpointUploads:
    """At most one upload at a time; `put` waits for the one before it.

    `keep` removes the checkpoints that are not kept any more.
    """

    def __init__(
        self,
        store: CheckpointStore,
        link: Link,
        rank: int,
        world_size: int,
        triallog: TrialLog | None,
        keep: Callable[[], Kept],
    ) -> None:
        self._store, self._link, self._rank, self._world_size = store, link, rank, world_size
        self._log, self._keep = triallog, keep
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="orchestrator-upload")
        self._running: Future[None] | None = None
        self.kept: list[tuple[str, Manifest]] = []

    def put(self, name: str, part: Part | None, manifest: Manifest, scores: Scores | None = None) -> None:
        """Store this rank's part (None: it has none) of the checkpoint `name`, and the scores that count.

        Raises:
            UploadFailed: the upload before this one failed; the trial must not go on as if it were safe.
            CheckpointRefused: that one cannot be stored as the user's code has made it.
            Superseded: a later attempt has the trial.
        """
        self.wait()
        self._running = self._pool.submit(self._upload, name, part, manifest, scores)

    def describe(self, **fields: Any) -> None:
        """Set fields of the trial's `trial.json`, off the training path."""
        self._pool.submit(self._describe, fields)

    def _describe(self, fields: dict[str, Any]) -> None:
        try:
            self._store.describe(**fields)
        except (StorageUnavailable, Superseded) as error:  # for readers only: the journal is the truth
            log.warning("%s", error)

    def wait(self) -> None:
        """Wait for the upload that is under way, if any. Raises what `put` raises."""
        if self._running is not None:
            running, self._running = self._running, None
            try:
                running.result()
            except (OSError, StorageUnavailable) as error:
                raise UploadFailed(f"a checkpoint could not be stored: {error}") from error

    def close(self) -> None:
        """Wait for the last upload and end the thread."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def _upload(self, name: str, part: Part | None, manifest: Manifest, scores: Scores | None) -> None:
        with self._link.trace.span(f"checkpoint {name}", row="uploads"):
            self._store_part(name, part, manifest, scores)

    def _store_part(self, name: str, part: Part | None, manifest: Manifest, scores: Scores | None) -> None:
        try:
            whole = self._store_own(name, part)
        finally:
            if part is not None:
                part.discard()
        if whole is None or self._all(name, "stored", True) is None or self._rank != 0:
            return
        if self._log is not None:
            self._log.flush()
        if scores is not None:
            self._store.put_scores(name, scores)
        complete = replace(manifest, files=whole.files, links=whole.links, empty=whole.empty)
        self._store.commit(name, complete)
        self.kept.append((name, complete))
        left = self._keep()
        self._store.describe(checkpoints={"latest": left.latest, "best": left.best})
        self._link.checkpoint_kept(name, complete.step, complete.length, complete.value)

    def _store_own(self, name: str, part: Part | None) -> Tree | None:
        """Store what no lower rank stores; returns the checkpoint of all ranks, None if there is none."""
        folder = None if part is None else part.files()
        if self._rank == 0:
            self._store.begin(name)
        said = self._all(name, "tree", None if folder is None else read_tree(folder))
        trees = {rank: tree for rank, tree in (said or {}).items() if tree is not None}
        if not trees:
            return None
        contents: Mapping[int, Mapping[str, str]] = {}
        if common := in_common(trees):
            own = {} if folder is None else digests(folder, trees[self._rank].files.keys() & common)
            contents = self._all(name, "digests", own) or {}
            if not contents:
                return None
        whole = merge(trees, contents)
        if folder is not None:
            self._store.put_part(name, folder, owned(trees, self._rank))
        return whole

    def _all(self, name: str, what: str, mine: Any) -> Mapping[int, Any] | None:
        """Return what every rank says, once all have said it; None when the attempt is over."""
        return self._link.of_all(f"{name}: {what}", mine) if self._world_size > 1 else {0: mine}


def local_log(storage: Storage, target: str) -> Path:
    """Where this process writes a log that is to be `target` on the storage."""
    path = Path(tempfile.gettempdir()) / f"orchestrator-{os.getpid()}" / target
    if storage.is_local:
        path = Path(storage.local_path(target))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def ship_log(storage: Storage, written: Path, target: str) -> None:
    """Append `written` to `target` on the storage and remove it; nothing to do where they are the same file.

    A log that cannot be stored is no reason to lose the trial: it stays where it is, with a warning.
    """
    if storage.is_local or not written.exists():
        return
    try:
        before = storage.read_bytes(target) if storage.exists(target) else b""
        storage.write_atomic(target, before + written.read_bytes())
        written.unlink()
    except (OSError, StorageUnavailable) as error:
        log.warning("%s could not be stored as %s: %s", written, target, error)
