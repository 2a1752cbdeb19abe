"""What the built-in loop reads from the config (data, optim, train), checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMISERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "linear")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
LOADER_KEYS = ("num_workers", "prefetch_factor", "pin_memory")
"""Keys of `data` that say how samples are loaded, not which: the batches are the same, bit for bit."""
TRAIN_KEYS = (
    *("precision", "accumulate", "clip", "val_batch_every", "report_every", "monitor_every"),
    *("compile", "channels_last", "gradient_checkpointing", "ema", "patience", "min_delta"),
)
OPTIM_KEYS = ("name", "lr", "weight_decay", "momentum", "schedule", "warmup", "fused")


@dataclass(frozen=True)
class OptimSettings:
    """config["optim"] for the built-in optimizers and schedules."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    """Of SGD; beta1 of Adam and AdamW."""
    schedule: str = "constant"
    warmup: float = 0.0
    """Linear warm-up: below 1 a share of the whole training, from 1 on a number of steps."""
    fused: bool = True
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

    batch_size: int
    """Samples per rank and forward pass."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: int = 1
    """Forward passes per optimizer step."""
    clip: float | None = None
    """Largest norm of the gradient."""
    val_batch_every: int | Literal["auto"] = "auto"
    """Steps between two validation batches; auto: as often as 5 % of the training time allows; 0: never."""
    report_every: int | Literal["epoch"] = "epoch"
    """Steps between two reports, or one after every epoch."""
    balanced: bool = False
    """An epoch has as many samples of every class (`Task.label_key`)."""
    monitor_every: int | Literal["auto"] = "auto"
    """The monitors see each n-th validation pass; auto: as many as 4 % of the training time allows."""
    num_workers: int | Literal["auto"] = "auto"
    """Processes that load the samples of a dataset; 0: the trial's own. Tensors in memory need none."""
    prefetch_factor: int = 2
    """Batches that each of them loads ahead."""
    pin_memory: bool | Literal["auto"] = "auto"
    """Batches lie where a GPU fetches them faster; auto: where there is a GPU."""
    compile: str | None = None
    """Mode of `torch.compile`; None: not compiled."""
    channels_last: bool = False
    """Images and the weights of convolutions lie as [B, H, W, C] in memory."""
    gradient_checkpointing: bool | tuple[str, ...] = False
    """Modules (by patterns of their names; true: the blocks of the model) are run again in the backward pass
    instead of keeping what they computed."""
    ema: float | None = None
    """Decay of the moving average of the weights, which is then what is validated and tested."""
    patience: int | None = None
    """Reports without a better value of the study's metric after which the trial ends; None: never."""
    min_delta: float = 0.0
    """What counts as better by less than this does not."""


def loaders(cpus: float) -> int:
    """Return how many processes load samples for a worker with so many CPUs, where nothing else is said."""
    return max(0, int(cpus) - 1)


def loop_settings(config: Mapping[str, Any]) -> LoopSettings:
    """Read config["data"] (batch_size, balanced, how samples are loaded) and config["train"].

    Raises:
        ValueError: a value that the loop cannot use, or a key of `train` that it does not know.
    """
    train = _section(config, "train", TRAIN_KEYS)
    data = config.get("data") or {}
    clip, ema, patience = (train.get(key) for key in ("clip", "ema", "patience"))
    return LoopSettings(
        batch_size=_whole("data.batch_size", data.get("batch_size", 32), 1),
        precision=_choice("train.precision", train.get("precision", "fp32"), PRECISIONS),
        accumulate=_whole("train.accumulate", train.get("accumulate", 1), 1),
        clip=None if clip is None else _number("train.clip", clip, above=0.0),
        val_batch_every=_whole_or("train.val_batch_every", train.get("val_batch_every", "auto"), "auto", 0),
        report_every=_whole_or("train.report_every", train.get("report_every", "epoch"), "epoch", 1),
        balanced=_flag("data.balanced", data.get("balanced", False)),
        monitor_every=_whole_or("train.monitor_every", train.get("monitor_every", "auto"), "auto", 1),
        num_workers=_whole_or("data.num_workers", data.get("num_workers", "auto"), "auto", 0),
        prefetch_factor=_whole("data.prefetch_factor", data.get("prefetch_factor", 2), 1),
        pin_memory=_flag_or_auto("data.pin_memory", data.get("pin_memory", "auto")),
        compile=_compile("train.compile", train.get("compile", False)),
        channels_last=_flag("train.channels_last", train.get("channels_last", False)),
        gradient_checkpointing=_patterns(
            "train.gradient_checkpointing", train.get("gradient_checkpointing", False)
        ),
        ema=None if ema is None else _number("train.ema", ema, above=0.0, below=1.0),
        patience=None if patience is None else _whole("train.patience", patience, 1),
        min_delta=_number("train.min_delta", train.get("min_delta", 0.0), at_least=0.0),
    )


def optim_settings(config: Mapping[str, Any], *, extra_keys: bool = False) -> OptimSettings:
    """Read config["optim"]; `extra_keys` allows keys that a task's own optimizer reads.

    Raises:
        ValueError: a value that cannot be used, or an unknown key.
    """
    section = dict(_section(config, "optim", None if extra_keys else OPTIM_KEYS))
    default = OptimSettings()
    name = str(section.get("name", default.name))
    return OptimSettings(
        name=name if extra_keys else _choice("optim.name", name, OPTIMISERS),
        lr=_number("optim.lr", section.get("lr", default.lr), at_least=0.0),
        weight_decay=_number("optim.weight_decay", section.get("weight_decay", 0.0), at_least=0.0),
        momentum=_number("optim.momentum", section.get("momentum", default.momentum), at_least=0.0),
        schedule=_choice("optim.schedule", section.get("schedule", default.schedule), SCHEDULES),
        warmup=_number("optim.warmup", section.get("warmup", 0.0), at_least=0.0),
        fused=_flag("optim.fused", section.get("fused", True)),
    )


def _section(config: Mapping[str, Any], name: str, known: tuple[str, ...] | None) -> Mapping[str, Any]:
    section = config.get(name) or {}
    if not isinstance(section, Mapping):
        raise ValueError(f"{name} must be a mapping, not {section!r}")
    unknown = [] if known is None else sorted(set(section) - set(known))
    if known is not None and unknown:
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
    if not good or (above is not None and value <= above) or (at_least is not None and value < at_least):
        good = False
    if not good or (below is not None and value >= below):
        bound = f"above {above:g}" if above is not None else f"from {at_least:g} on"
        bound += f" and below {below:g}" if below is not None else ""
        raise ValueError(f"{key} is {value!r}; valid: a number {bound}")
    return float(value)
