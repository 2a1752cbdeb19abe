"""A2: two sets that do not overlap, of which one is never augmented; and how the classes are balanced."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter

import torch

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.data import label_columns
from orchestrator.training.gates.results import Verdict, failed, passed
from orchestrator.training.streams import preserved_random_state
from orchestrator.training.task import ID, TRAIN, VAL, Batch
from orchestrator.training.validation import evaluating

HASHING_S = 60.0
"""Seconds for hashing; from a larger set a random sample is taken, and said."""
IMBALANCE = 3.0
"""Most frequent class to rarest, from which it is worth a word."""


def separate(bench: Bench, seconds: float = HASHING_S) -> Verdict:
    """Fails where samples are in both sets, or where the validation set changes from pass to pass."""
    changed = _changes(bench)
    if changed is not None:
        return changed
    hashes = {name: _hashes(bench, name, seconds / 2) for name in (VAL, TRAIN)}
    train, val = hashes[TRAIN], hashes[VAL]
    shared = [sample for digest, sample in val.items() if digest in train]
    scope = "; ".join(
        f"{len_} of {bench.sets[name].count} {name} samples hashed ({seconds / 2:.0f} s)"
        for name, len_ in ((TRAIN, _seen(train)), (VAL, _seen(val)))
        if len_ < bench.sets[name].count
    )
    if shared:
        pairs = ", ".join(f"val {sample} = train {train[d]}" for d, sample in list(val.items()) if d in train)
        return failed(
            f"{len(shared)} of {len(val)} validation samples are in the training set too "
            f"({pairs[:120]}{'…' if len(pairs) > 120 else ''})",
            "the split is drawn with overlap, or after samples were repeated (oversampling): split first",
            "duplicates in the source: drop them before the split",
            "one file or folder is read for both sets",
        )
    twice = bench.sets[TRAIN].count - len(train) if not scope else 0
    text = "no sample is in both sets; two passes over the validation set are identical"
    warnings = [f"{twice} training samples occur more than once"] if twice else []
    warnings += _imbalance(bench)
    return passed(f"{text}; {scope}" if scope else text, warnings=tuple(warnings))


def _seen(hashes: dict[bytes, int]) -> int:
    return len(hashes)


def _hashes(bench: Bench, name: str, seconds: float) -> dict[bytes, int]:
    """Digest of each sample's inputs -> its index; in random order where time does not suffice for all."""
    deadline = time.monotonic() + seconds
    found: dict[bytes, int] = {}
    order = torch.randperm(bench.sets[name].count, generator=torch.Generator().manual_seed(0))
    for rows in torch.split(order, 256):
        if time.monotonic() > deadline:
            break
        for index, digest in zip(rows.tolist(), digests(bench.take(name, rows)), strict=True):
            found.setdefault(digest, index)
    return found


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


def _changes(bench: Bench) -> Verdict | None:
    """The same validation batches twice, the global random states elsewhere the second time."""
    model = bench.model()
    first: list[tuple[list[bytes], float]] = []
    second: list[tuple[list[bytes], float]] = []
    for passes in (first, second):
        with preserved_random_state(), evaluating(model):
            for seed, batch in enumerate(bench.val_batches()):
                passes.append((digests(batch), float(bench.loss(model, batch))))
                random.seed(seed + len(second))
                torch.manual_seed(seed + 1000 * len(second))
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


def _imbalance(bench: Bench) -> list[str]:
    """From the first 20,000 training samples."""
    said = []
    batch = bench.spread(TRAIN, 20_000 if bench.sets[TRAIN].in_memory else 500)
    for column in label_columns(batch):
        counts = Counter(batch[column].tolist()).most_common()
        if 2 <= len(counts) <= 100 and counts[0][1] > IMBALANCE * counts[-1][1]:
            (most, many), (least, few) = counts[0], counts[-1]
            said.append(
                f"{column} is imbalanced: {most} occurs {many / few:.1f} times as often as {least}; "
                "accuracy flatters, think of class weights or balanced sampling"
            )
    return said
