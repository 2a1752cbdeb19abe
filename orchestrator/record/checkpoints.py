"""Atomic checkpoints: the parts of all ranks first, the manifest last; without it, there is no checkpoint.

`<name>/` is the user's own tree and nothing else, `<name>.json` beside it the manifest (earlier versions kept
it inside, as MANIFEST.json), `<name>.scores.parquet` the scores of the samples that counted by then, if any.
A checkpoint counts as complete when its manifest can be read, nobody has found that it cannot be loaded, and
every file it lists has the size it lists.
Those of a replaced attempt do not count, unless the later one has taken them over (`record.attempts`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import StorageUnavailable, UnreadableRecord
from orchestrator.record.attempts import attempt_of, owner_of, refuse_superseded
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import TrialPaths
from orchestrator.record.reading import faults_of, telling
from orchestrator.record.scores import Scores, packed, unpacked
from orchestrator.record.storage import Storage
from orchestrator.record.storagefaults import StorageFaultKind
from orchestrator.record.trees import Tree, make_links, read_tree, refuse_outside

INSIDE = "MANIFEST.json"
"""Where the manifest of earlier versions lies, in the checkpoint itself."""
# What says something about one checkpoint; everything else is a fault of the storage as a whole.
_OF_THIS_FILE = ("", StorageFaultKind.IO_ERROR)


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds and where in the trial it was taken.

    `step`, `epoch` as the trial counts them; `length` in the study's unit; `report`: 1-based index of the
    report it came with; `time_s`: training seconds over all attempts; `value` in the user's units; `score`:
    higher is better; `files`, `links`, `empty`: its tree, as `record.trees.Tree` has it; `unusable`: why it
    could not be loaded. `name` is filled in by the store.
    """

    step: int
    epoch: int | float | None
    length: int | float
    report: int
    time_s: float
    attempt: int
    world_size: int = 1
    value: int | float | None = None
    score: int | float | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    unusable: str | None = None
    name: str = ""

    @property
    def tree(self) -> Tree:
        """What it holds."""
        return Tree(self.files, self.links, self.empty)

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """Raise `ValueError` when it is no manifest."""
        try:
            found = _MANIFEST.validate_python(data)
        except ValidationError as error:
            wrong = "; ".join(": ".join(filter(None, fault)) for fault in faults_of(error))
            raise ValueError(f"not a checkpoint manifest: {wrong}") from error
        refuse_outside(found.tree)
        return found


_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Kept:
    """What `retain` left: names of the newest and of the best, best first."""

    latest: tuple[str, ...]
    best: tuple[str, ...]


class CheckpointStore:
    """The checkpoints of one trial. `warnings` names those that `latest` had to pass over, and why.

    With `attempt`, a writer's: what changes the record raises `Superseded` once a later one has the trial.
    """

    def __init__(self, storage: Storage, trial: TrialPaths, attempt: int | None = None) -> None:
        self._storage = storage
        self._trial = trial
        self._attempt = attempt
        self.warnings: list[str] = []

    def begin(self, name: str) -> None:
        """Remove what there is of this name: a checkpoint that is replaced is none until it is whole again.

        For one rank, before any rank puts its part.
        """
        self._remove(name)

    def put_part(self, name: str, local_dir: Path, own: Iterable[str] | None = None) -> dict[str, int]:
        """Upload one rank's files (`own`: these of them only), links and empty directories.

        All ranks share one directory, as with Ray Train. Returns path -> bytes written. Raises
        `CheckpointRefused`, which names what cannot be kept.
        """
        tree, folder = read_tree(local_dir), self._trial.checkpoint(name)
        self._storage.delete_file(self._trial.manifest(name))
        files = self._storage.copy_in(local_dir, folder, tree.files if own is None else own)
        for below in tree.empty:
            self._storage.make_dir(f"{folder}/{below}")
        for link, target in tree.links.items():
            self._storage.make_link(f"{folder}/{link}", target)
        return files

    def commit(self, name: str, manifest: Manifest) -> Manifest:
        """Check the listed files, then write the manifest. Raises `StorageUnavailable` if not whole."""
        self._refuse_superseded()
        folder = self._trial.checkpoint(name)
        wrong = self._not_whole(folder, manifest)
        if wrong:
            raise StorageUnavailable(
                f"checkpoint {folder} did not arrive whole: {wrong}", StorageFaultKind.UNAVAILABLE
            )
        if not manifest.files:
            self._storage.make_dir(folder)
        named = replace(manifest, name=name)
        self._storage.write_atomic(self._trial.manifest(name), to_json(asdict(named)))
        return named

    def put_scores(self, name: str, scores: Scores) -> None:
        """Keep the scores of the samples beside a checkpoint; before `commit`, since they are of it."""
        self._storage.write_atomic(self._trial.checkpoint_scores(name), packed(scores))

    def scores_at(self, name: str) -> Scores | None:
        """Return the scores that counted at a checkpoint; None where it has none that can be read."""
        path = self._trial.checkpoint_scores(name)
        try:
            with telling(self._storage, path):
                return unpacked(self._storage.read_bytes(path))
        except (FileNotFoundError, UnreadableRecord):  # it goes on without, as one that never had any
            return None

    def reject(self, manifest: Manifest, why: str) -> None:
        """Let nobody go on from a checkpoint that could not be loaded; what it holds stays where it is."""
        self._refuse_superseded()
        self._storage.write_atomic(
            self._trial.manifest(manifest.name), to_json(asdict(replace(manifest, unusable=why)))
        )

    def complete(self) -> list[Manifest]:
        """Every complete checkpoint, oldest first; renews `warnings`."""
        self.warnings = []
        found = []
        owner = owner_of(self._storage, self._trial)
        for name in self._names():
            if owner.has(name):
                manifest = self._read(name)
                if manifest is not None:
                    found.append(manifest)
        return sorted(found, key=lambda manifest: (manifest.report, manifest.step, manifest.name))

    def latest(self) -> Manifest | None:
        """Return the newest complete checkpoint, or None."""
        found = self.complete()
        return found[-1] if found else None

    def fetch(self, name: str, local_dir: Path) -> Path:
        """Copy a checkpoint's tree to an empty local directory; returns it.

        Raises `StorageUnavailable` when it is not whole (any more): half of one must not be loaded.
        """
        folder, target = self._trial.checkpoint(name), Path(local_dir)
        manifest = self._read(name)
        try:
            if manifest is None:
                raise FileNotFoundError
            self._storage.copy_out(folder, target, manifest.files)
            for below in manifest.empty:
                (target / below).mkdir(parents=True, exist_ok=True)
            make_links(manifest.tree, target)
            if self._not_whole(folder, manifest):
                raise FileNotFoundError
        except (FileNotFoundError, ValueError) as error:
            what = str(error) if isinstance(error, ValueError) else "went away while it was read"
            raise StorageUnavailable(f"checkpoint {folder}: {what}", StorageFaultKind.UNAVAILABLE) from None
        return target

    def lies_at(self, name: str) -> Path | None:
        """Return where a checkpoint can be read as it lies; None where it takes `fetch`."""
        if not self._storage.is_local or not self._storage.exists(self._trial.manifest(name)):
            return None
        return self._storage.local_path(self._trial.checkpoint(name))

    def retain(self, keep_best: int, keep_latest: int, at: Sequence[float] = ()) -> Kept:
        """Remove complete checkpoints beyond the newest `keep_latest` and the best `keep_best` (by score).

        The newest complete one always stays, and so does the first one at or after each of the lengths `at`;
        incomplete ones, which may be on their way, are not touched.
        """
        self._refuse_superseded()
        found = self.complete()
        latest = [manifest.name for manifest in reversed(found)][: max(1, keep_latest)]
        best = [manifest.name for manifest in best_first(found)][: max(0, keep_best)]
        named = [next((m.name for m in found if m.length >= length), "") for length in at]
        for manifest in found:
            if manifest.name not in {*latest, *best, *named}:
                self._remove(manifest.name)
        return Kept(tuple(latest), tuple(best))

    def describe(self, **fields: Any) -> None:
        """Set top-level fields of `trial.json`, for people and programs that look at the trial's directory.

        One writer at a time, rank 0 of the trial.
        """
        self._refuse_superseded()
        path, before = self._trial.trial_json, None
        try:
            before = from_json(self._storage.read_bytes(path))
        except UnreadableRecord:  # it only informs, so it may not have been on a disk that failed
            if any(
                one.is_dir and one.name == Path(path).name for one in self._storage.list(self._trial.root)
            ):
                self._storage.delete_dir(path)
        except (FileNotFoundError, ValueError):
            pass
        told = {**(before if isinstance(before, dict) else {}), **fields}
        told = json.loads(to_json(told))  # NaN as text: JSON has none
        self._storage.write_atomic(path, json.dumps(told, indent=1) + "\n", lasting=False)

    def discard_incomplete(self) -> list[str]:
        """Remove what crashed uploads and replaced attempts left; only when no upload of ours is under way.

        Returns the names.
        """
        self._refuse_superseded()
        good, last = {manifest.name for manifest in self.complete()}, self._attempt or math.inf
        bad = [name for name in self._names() if name not in good and attempt_of(name) <= last]
        for name in bad:
            self._remove(name)
        return bad

    def _refuse_superseded(self) -> None:
        if self._attempt is not None:
            refuse_superseded(self._storage, self._trial, self._attempt)

    def _remove(self, name: str) -> None:
        # manifest first: a crash in between leaves an incomplete checkpoint, not one that lies
        folder = self._trial.checkpoint(name)
        self._storage.delete_file(self._trial.manifest(name))
        self._storage.delete_file(self._trial.checkpoint_scores(name))
        self._storage.delete_file(f"{folder}/{INSIDE}")
        self._storage.delete_dir(folder)

    def _names(self) -> list[str]:
        """Return the names of all that are here, complete or not."""
        entries = self._storage.list(self._trial.checkpoints_dir)
        manifests = [entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")]
        return sorted({*manifests, *(entry.name for entry in entries if entry.is_dir)})

    def _manifest_of(self, name: str) -> bytes:
        with suppress(FileNotFoundError):
            return self._storage.read_bytes(self._trial.manifest(name))
        return self._storage.read_bytes(f"{self._trial.checkpoint(name)}/{INSIDE}")

    def _read(self, name: str) -> Manifest | None:
        folder = self._trial.checkpoint(name)
        try:
            manifest = Manifest.from_json(from_json(self._manifest_of(name)))
        except FileNotFoundError:
            self.warnings.append(f"{folder}: no manifest; its upload did not finish")
            return None
        except ValueError as error:
            self.warnings.append(f"{folder}: unreadable manifest ({error})")
            return None
        except StorageUnavailable as error:
            if error.kind not in _OF_THIS_FILE:
                raise
            self.warnings.append(f"{folder}: {error}")
            return None
        wrong = manifest.unusable or self._not_whole(folder, manifest)
        if wrong:
            self.warnings.append(f"{folder}: {wrong}")
            return None
        return replace(manifest, name=name)

    def _not_whole(self, folder: str, manifest: Manifest) -> str | None:
        there = self._storage.sizes(folder)
        for name, size in manifest.files.items():
            if name not in there:
                return f"{name} is missing"
            if there[name] != size:
                return f"{name} has {there[name]} of {size} bytes"
        return None


def best_first(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Those with a finite score, best first; of equal scores the earlier one."""
    scored = [m for m in manifests if m.score is not None and math.isfinite(m.score)]
    return sorted(scored, key=lambda manifest: (-(manifest.score or 0.0), manifest.report))
