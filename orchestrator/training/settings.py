"""What the built-in loop reads from the config (data, optim, train), checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal, get_type_hints

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "linear")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
LOADER_KEYS = ("num_workers", "prefetch_factor", "pin_memory")
"""Keys of `data` that say how samples are loaded, not which: the batches are the same, bit for bit."""
DATA_KEYS = ("batch_size", "balanced", *LOADER_KEYS)
"""Keys of `data` that the loop reads; the others are the task's."""
# Beside the type of a setting stands what reads it: (key, value) -> the value, or ValueError.


@dataclass(frozen=True)
class OptimSettings:
    """config["optim"] for the built-in optimizers and schedules."""

    name: Annotated[str, partial(_choice, valid=OPTIMISERS)] = "adamw"
    lr: Annotated[float, partial(_number, at_least=0.0)] = 1e-3
    weight_decay: Annotated[float, partial(_number, at_least=0.0)] = 0.0
    momentum: Annotated[float, partial(_number, at_least=0.0)] = 0.9
    """Of SGD; beta1 of Adam and AdamW."""
    schedule: Annotated[str, partial(_choice, valid=SCHEDULES)] = "constant"
    warmup: Annotated[float, partial(_number, at_least=0.0)] = 0.0
    """Linear warm-up: below 1 a share of the whole training, from 1 on a number of steps."""
    fused: Annotated[bool, _flag] = True
    """One kernel for all parameters, where the device has it."""

    def factor(self, progress: float, step: int) -> float:
        """Factor on the learning rate at step number `step` (from 0), at `progress` in [0, 1]."""
        start = 0.0
        if self.warmup >= 1:
            if step < self.warmup:
                return (step + 1) / self.warmup
            start = progress * self.warmup / step
        elif self.warmup > 0:
            start = self.warmup
            if progress < start:
                return max(progress / start, 1e-3)
        if self.schedule == "constant":
            return 1.0
        left = min(1.0, max(0.0, (1.0 - progress) / max(1e-12, 1.0 - start)))
        return left if self.schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))


@dataclass(frozen=True)
class LoopSettings:
    """How the loop trains."""

    batch_size: Annotated[int, partial(_whole, least=1)] = 32
    """Samples per rank and forward pass."""
    precision: Annotated[Literal["fp32", "bf16", "fp16"], partial(_choice, valid=PRECISIONS)] = "fp32"
    accumulate: Annotated[int, partial(_whole, least=1)] = 1
    """Forward passes per optimizer step."""
    clip: Annotated[float | None, partial(_number, above=0.0)] = None
    """Largest norm of the gradient."""
    val_batch_every: Annotated[int | Literal["auto"], partial(_whole_or, word="auto", least=0)] = "auto"
    """Steps between two validation batches; auto: as often as 3 % of the training time allows; 0: never."""
    report_every: Annotated[int | Literal["epoch"], partial(_whole_or, word="epoch", least=1)] = "epoch"
    """Steps between two reports, or one after every epoch."""
    balanced: Annotated[bool, _flag] = False
    """An epoch has as many samples of every class (`Task.label_key`)."""
    monitor_every: Annotated[int | Literal["auto"], partial(_whole_or, word="auto", least=1)] = "auto"
    """The monitors see each n-th validation pass; auto: as many as 4 % of the training time allows."""
    num_workers: Annotated[int | Literal["auto"], partial(_whole_or, word="auto", least=0)] = "auto"
    """Processes that load the samples of a dataset; 0: the trial's own. Tensors in memory need none."""
    prefetch_factor: Annotated[int, partial(_whole, least=1)] = 2
    """Batches that each of them loads ahead."""
    pin_memory: Annotated[bool | Literal["auto"], _flag_or_auto] = "auto"
    """Batches lie where a GPU fetches them faster; auto: where there is a GPU."""
    compile: Annotated[str | None, _compile] = None
    """Mode of `torch.compile`; None: not compiled."""
    channels_last: Annotated[bool, _flag] = False
    """Images and the weights of convolutions lie as [B, H, W, C] in memory."""
    gradient_checkpointing: Annotated[bool | tuple[str, ...], _patterns] = False
    """Modules (by patterns of their names; true: the blocks of the model) are run again in the backward pass
    instead of keeping what they computed."""
    ema: Annotated[float | None, partial(_number, above=0.0, below=1.0)] = None
    """Decay of the moving average of the weights, which is then what is validated and tested."""
    patience: Annotated[int | None, partial(_whole, least=1)] = None
    """Reports without a better value of the study's metric after which the trial ends; None: never."""
    min_delta: Annotated[float, partial(_number, at_least=0.0)] = 0.0
    """What counts as better by less than this does not."""


TRAIN_KEYS = tuple(each.name for each in fields(LoopSettings) if each.name not in DATA_KEYS)
OPTIM_KEYS = tuple(each.name for each in fields(OptimSettings))


def loaders(cpus: float) -> int:
    """Return how many processes load samples for a worker with so many CPUs, where nothing else is said."""
    return max(0, int(cpus) - 1)


def loop_settings(config: Mapping[str, Any]) -> LoopSettings:
    """Read config["data"] (batch_size, balanced, how samples are loaded) and config["train"].

    Raises:
        ValueError: a value that the loop cannot use, or a key of `train` that it does not know.
    """
    data, train = _section(config, "data"), _section(config, "train", TRAIN_KEYS)
    given = _checked(LoopSettings, "data", data, DATA_KEYS)
    return LoopSettings(**given, **_checked(LoopSettings, "train", train, TRAIN_KEYS))


def optim_settings(config: Mapping[str, Any], *, extra_keys: bool = False) -> OptimSettings:
    """Read config["optim"]; `extra_keys` allows keys that a task's own optimizer reads.

    Raises:
        ValueError: a value that cannot be used, or an unknown key.
    """
    section = _section(config, "optim", None if extra_keys else OPTIM_KEYS)
    own_name: dict[str, Any] = {"name": str(section["name"])} if extra_keys and "name" in section else {}
    keys = [key for key in OPTIM_KEYS if key not in own_name]
    return OptimSettings(**own_name, **_checked(OptimSettings, "optim", section, keys))


def _checked(
    kind: type[LoopSettings | OptimSettings], name: str, section: Mapping[str, Any], keys: Iterable[str]
) -> dict[str, Any]:
    """Return what a section says of these keys, as it is read, unless it is the default."""
    readers = {key: hint.__metadata__[0] for key, hint in get_type_hints(kind, include_extras=True).items()}
    return {
        key: readers[key](f"{name}.{key}", section[key])
        for key in keys
        if section.get(key, getattr(kind, key)) is not getattr(kind, key)
    }


def _section(config: Mapping[str, Any], name: str, known: Sequence[str] | None = None) -> Mapping[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, Mapping):
        raise ValueError(f"{name} must be a mapping, not {section!r}")
    if known is not None and (unknown := sorted(set(section) - set(known))):
        keys = ", ".join(f"{name}.{key}" for key in unknown)
        raise ValueError(f"the built-in loop does not know {keys}; valid: {', '.join(known)}")
    return section


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}; valid: true, false")
    return value


def _choice(key: str, value: Any, valid: tuple[str, ...]) -> Any:
    if value not in valid:
        raise ValueError(f"{key} is {value!r}; valid: {', '.join(valid)}")
    return value


def _whole(key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key} is {value!r}; valid: a whole number from {least} on")
    return value


def _whole_or(key: str, value: Any, word: Any, least: int) -> Any:
    if value == word:
        return value
    if isinstance(value, str):
        raise ValueError(f"{key} is {value!r}; valid: {word} or a whole number from {least} on")
    return _whole(key, value, least)


def _flag_or_auto(key: str, value: Any) -> Any:
    if not (value == "auto" or isinstance(value, bool)):
        raise ValueError(f"{key} is {value!r}; valid: auto, true, false")
    return value


def _compile(key: str, value: Any) -> str | None:
    if isinstance(value, bool) or value is None:
        return COMPILE_MODES[0] if value else None
    if value not in COMPILE_MODES:
        raise ValueError(f"{key} is {value!r}; valid: false, true, {', '.join(COMPILE_MODES)}")
    return str(value)


def _patterns(key: str, value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError(f"{key} is {value!r}; valid: false, true, or a list of module names such as [encoder.*]")


def _number(
    key: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    good = good and (above is None or value > above) and (at_least is None or value >= at_least)
    if not good or (below is not None and value >= below):
        bound = f"above {above:g}" if above is not None else f"from {at_least:g} on"
        bound += f" and below {below:g}" if below is not None else ""
        raise ValueError(f"{key} is {value!r}; valid: a number {bound}")
    return float(value)
