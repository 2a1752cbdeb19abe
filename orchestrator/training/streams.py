"""Random streams keyed by name, not by order.

Two arms of a study with the same seed should share every random number that they can share: taking a
module away must not shift the numbers of all others. So each purpose has a generator of its own, derived
as sha256(seed, purpose[, names]). Purposes that the built-in loop uses:

    build        building the model (weights that `Task.init_weights` does not set by name)
    init         one parameter's or module's initial values, by its name
    split        training and validation sets
    order        order of the samples, by epoch
    augment      augmentation, by epoch and sample id (`SampleDraws`)
    val-batch    the validation batch that goes with a training step
    sample       whatever a dataset draws from the global generators, by set, epoch and sample
    runtime      dropout and everything else that draws from the global generators, by rank
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

Name = str | int


@dataclass(frozen=True)
class Streams:
    """All random streams of one seed."""

    root: int

    def seed(self, purpose: str, *names: Name) -> int:
        """Return a seed in [0, 2**63), the same for the same seed, purpose and names on every machine."""
        key = "\0".join(f"{type(part).__name__}:{part}" for part in (self.root, purpose, *names))
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1

    def generator(self, purpose: str, *names: Name) -> torch.Generator:
        """Return a fresh CPU generator at the start of the named stream."""
        return torch.Generator().manual_seed(self.seed(purpose, *names))

    def seed_globals(self, purpose: str, *names: Name) -> None:
        """Start the global generators of Python, NumPy and torch (all devices) at the named stream."""
        seed = self.seed(purpose, *names)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)

    def reset_by_name(self, model: nn.Module) -> None:
        """Draw the initial weights of every module that can reset itself from a stream of its own name.

        For use in `Task.init_weights`: a model without one of the modules keeps the weights of all others.
        Leaves the global generators as they were.
        """
        with preserved_random_state():
            for name, module in model.named_modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    torch.manual_seed(self.seed("init", name))
                    reset()


class SampleDraws:
    """Random numbers for augmentation that depend on (seed, epoch, sample id) and on nothing else.

    A sample gets the same numbers whatever batch, rank or order it comes in. Numbers come from a
    counter-based hash (splitmix64) over whole tensors: drawing for a batch costs a few vector operations.
    """

    def __init__(self, streams: Streams, epoch: int, ids: Tensor) -> None:
        """`ids`: [B] int64, the samples of the batch; `epoch` counts from 0."""
        self.epoch = epoch
        self.ids = ids
        self._streams = streams

    def uniform(self, name: str, columns: int = 1) -> Tensor:
        """[B, columns] float32 in [0, 1): independent between names, columns, samples and epochs."""
        bits = self._bits(name, columns)
        return _shift(bits, 40).to(torch.float32) * 2.0**-24

    def integers(self, name: str, low: int, high: int, columns: int = 1) -> Tensor:
        """[B, columns] int64 in [low, high)."""
        if high <= low:
            raise ValueError(f"empty range [{low}, {high})")
        return low + _shift(self._bits(name, columns), 16) % (high - low)

    def normal(self, name: str, columns: int = 1) -> Tensor:
        """[B, columns] float32, standard normal (Box-Muller)."""
        uniform = self.uniform(name, 2 * columns)
        radius = torch.sqrt(-2.0 * torch.log1p(-uniform[:, :columns]))
        return radius * torch.cos(2.0 * torch.pi * uniform[:, columns:])

    def _bits(self, name: str, columns: int) -> Tensor:
        key = self._streams.seed("augment", self.epoch, name)
        counter = torch.arange(columns, dtype=torch.int64, device=self.ids.device)
        return _mix(_mix(self.ids.to(torch.int64)[:, None] + key) + counter[None, :])


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of int64 (torch shifts arithmetically)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN, _MIX_1, _MIX_2 = (_signed(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(state: Tensor) -> Tensor:
    """One splitmix64 output per element; int64 arithmetic wraps like uint64."""
    state = state + _GOLDEN
    state = (state ^ _shift(state, 30)) * _MIX_1
    state = (state ^ _shift(state, 27)) * _MIX_2
    return state ^ _shift(state, 31)


def random_state() -> dict[str, Any]:
    """Return the global generators of this process as tensors and plain values (for a checkpoint)."""
    legacy: Any = np.random.get_state(legacy=True)  # typed as a dict or a tuple of anything
    kind, keys, position, has_gauss, cached = legacy
    version, words, gauss = random.getstate()
    on_gpus: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if on_gpus else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    version, words, gauss = state["python"]
    words = words.tolist() if isinstance(words, torch.Tensor) else words  # a list in older checkpoints
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def keyed_samples(key: int) -> Iterator[Callable[[int], None]]:
    """Give a function that starts the global generators of the CPU at the stream of one sample.

    What a dataset draws for a sample then depends on `key` and the sample, not on what was drawn before it
    nor on the process that loads it. The generators are left as they were, but in a worker process of a
    loader, where nobody else draws from them.
    """

    def begin(sample: int) -> None:
        seed = _scrambled(key + sample * _GOLDEN)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)

    if get_worker_info() is not None:
        yield begin
        return
    python, legacy, own = random.getstate(), np.random.get_state(legacy=True), torch.get_rng_state()
    try:
        yield begin
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_rng_state(own)


def _scrambled(number: int) -> int:
    """One splitmix64 output of a whole number, in [0, 2**63)."""
    number &= _WORD
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _WORD
    return (number ^ (number >> 31)) >> 1


_WORD = (1 << 64) - 1


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Whatever is drawn inside leaves the global generators as they were."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)
