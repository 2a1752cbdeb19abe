"""A2: two sets that do not overlap, of which one is never augmented; and how the classes are balanced."""

from __future__ import annotations

import hashlib
import time
from collections import Counter

import torch
from torch import nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.data import label_columns
from orchestrator.training.gates.results import GateVerdict, failed, passed
from orchestrator.training.streams import Streams
from orchestrator.training.task import ID, TRAIN, VAL, Batch
from orchestrator.training.validation import evaluating

HASHING_S = 60.0
"""Seconds for hashing; from a larger set a random sample is taken, and said."""
BRIEF_HASHING_S = 6.0
IMBALANCE = 3.0
"""Most frequent class to rarest, from which it is worth a word."""


def separate(bench: Bench) -> GateVerdict:
    """Fails where samples are in both sets, or where the validation set changes from pass to pass."""
    seconds = BRIEF_HASHING_S if bench.request.brief else HASHING_S
    changed = _changes(bench)
    if changed is not None:
        return changed
    hashed = {name: _hashes(bench, name, seconds / 2) for name in (TRAIN, VAL)}
    (train, looked), (val, _) = hashed[TRAIN], hashed[VAL]
    shared = sorted((sample, train[digest]) for digest, sample in val.items() if digest in train)
    scope = "; ".join(
        f"{seen} of {bench.sets[name].count} {name} samples were looked at ({seconds / 2:.0f} s)"
        for name, (_, seen) in hashed.items()
        if seen < bench.sets[name].count
    )
    if shared:
        pairs = ", ".join(f"val {one} = train {other}" for one, other in shared[:3])
        return failed(
            f"{len(shared)} of {len(val)} validation samples are in the training set too "
            f"({pairs}{', …' if len(shared) > 3 else ''})",
            "the split is drawn with overlap, or after samples were repeated (oversampling): split first",
            "duplicates in the source: drop them before the split",
            "one file or folder is read for both sets",
        )
    twice = looked - len(train)
    text = "no sample is in both sets; two passes over the validation set are identical"
    warnings = [f"{twice} training samples occur more than once"] if twice else []
    warnings += _imbalance(bench)
    return passed(f"{text}; {scope}" if scope else text, warnings=tuple(warnings))


def _hashes(bench: Bench, name: str, seconds: float) -> tuple[dict[bytes, int], int]:
    """{digest of a sample's inputs: the first index with it}, and of how many samples that is: of the whole
    set, or of a random sample as large as the time allows.
    """
    deadline = time.monotonic() + seconds
    found: dict[bytes, int] = {}
    seen = 0
    order = torch.randperm(bench.sets[name].count, generator=torch.Generator().manual_seed(0))
    for rows in torch.split(order, 256):
        if time.monotonic() > deadline:
            break
        seen += len(rows)
        for index, digest in zip(rows.tolist(), digests(bench.take(name, rows)), strict=True):
            found[digest] = min(index, found.get(digest, index))
    return found, seen


def digests(batch: Batch) -> list[bytes]:
    """One per sample: of its floating-point tensors where there are any, else of all tensors but the id."""
    inputs = {n: v for n, v in batch.items() if n != ID and v.is_floating_point() and v.dim() > 1}
    chosen = inputs or {n: v for n, v in batch.items() if n != ID}
    columns = [value.contiguous().cpu() for _, value in sorted(chosen.items())]
    raw = [column.reshape(len(column), -1).view(torch.uint8).numpy() for column in columns]
    return [
        hashlib.blake2b(b"".join(column[i].tobytes() for column in raw), digest_size=16).digest()
        for i in range(len(batch[ID]))
    ]


def _changes(bench: Bench) -> GateVerdict | None:
    """Compare the same validation batches twice, the global random states elsewhere the second time."""
    model = bench.model()
    first, second = (_pass(bench, model, seed) for seed in (1, 2))
    for number, (before, after) in enumerate(zip(first, second, strict=True)):
        if before[0] != after[0]:
            return failed(
                f"validation batch {number} differs between two passes",
                "the dataset augments in __getitem__: move it to Task.augment, which only training calls",
                "train and val share one dataset object with random transforms",
            )
        if before[1] != after[1] and bench.device.type == "cpu":
            return failed(
                f"the same validation batch has loss {before[1]:.6g}, then {after[1]:.6g}",
                "the model or the loss draws random numbers in evaluation mode: F.dropout needs "
                "training=self.training",
                "augmentation inside the model's forward",
            )
    return None


def _pass(bench: Bench, model: nn.Module, seed: int) -> list[tuple[list[bytes], float]]:
    """Digests and loss of each validation batch."""
    with evaluating(model):  # which puts the random states back
        Streams(seed).seed_globals("check")
        return [(digests(batch), float(bench.loss(model, batch))) for batch in bench.val_batches()]


def _imbalance(bench: Bench) -> list[str]:
    """From some thousand training samples."""
    said = []
    batch = bench.spread(TRAIN, 4_000 if bench.sets[TRAIN].in_memory else 500)
    for column in label_columns(batch):
        counts = Counter(batch[column].tolist()).most_common()
        if 2 <= len(counts) <= 100 and counts[0][1] > IMBALANCE * counts[-1][1]:
            (most, many), (least, few) = counts[0], counts[-1]
            said.append(
                f"{column} is imbalanced: {most} occurs {many / few:.1f} times as often as {least}; "
                "accuracy flatters, think of class weights or balanced sampling"
            )
    return said
