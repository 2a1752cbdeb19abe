"""Where NaN or infinity came from: a step is run again and looked at, module by module.

Nothing of this runs before a loss is not finite. For the replay to see what happened, the update that would
have carried it into the weights is held back (`PlainOptimizer.hold`, or the loop itself).
"""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.streams import preserved_random_state
from orchestrator.training.task import ID, Batch, Outputs

_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
_LISTED = 5


class DivergenceGuard:
    """Keeps a loss that is not finite out of the weights until the step has been looked at.

    On the CPU and one rank the loop asks after every backward pass. Elsewhere that would make the device or
    the other ranks wait: from such a loss on, the built-in optimizers hold their updates back on the device,
    until the loop reads the losses a few steps later.
    """

    def __init__(self, optimizer: object, world_size: int, device: torch.device) -> None:
        self._ask = device.type == "cpu" and world_size == 1
        self._hold: Tensor | None = None
        if not self._ask and isinstance(optimizer, PlainOptimizer):
            self._hold = optimizer.hold = torch.zeros((), device=device)

    def stop(self, loss: Tensor) -> bool:
        """Look at the loss [] of a step, before its update; True when the trial has to end here."""
        if self._ask:
            return not math.isfinite(float(loss))
        if self._hold is not None:
            self._hold.copy_(torch.maximum(self._hold, (~loss.isfinite()).to(self._hold.dtype)))
        return False


@dataclass(frozen=True)
class NonFinite:
    """What a replay found, and whether the weights were still sound then."""

    text: str
    sound: bool


def find(
    model: nn.Module,
    batch: Batch,
    forward: Callable[[Batch], Outputs],
    loss: Callable[[Outputs, Batch], Tensor],
) -> NonFinite | None:
    """Run a batch forward and backward again; the first place that is not finite, or None when all is.

    `model` is the module inside any data-parallel wrapper, in the mode to look at. Its gradients, its
    buffers and the random states are left as they were.
    """
    spoilt = [name for name, parameter in model.named_parameters() if not _finite(parameter)]
    if spoilt:
        return NonFinite(_weights(model, spoilt), sound=False)
    for name, value in batch.items():
        if not _finite(value):
            return NonFinite(
                f"{name!r} of the batch is not finite, in samples {_samples(batch, value)}", sound=True
            )
    with preserved_random_state(), _kept_buffers(model), torch.enable_grad():
        with torch.autograd.set_detect_anomaly(True), _Operations() as operations:
            with _modules(model) as modules:
                outputs = forward(batch)
            value = loss(outputs, batch)
        if not _finite(value):
            kind = "nan" if bool(value.isnan().any()) else "inf"
            place = f"forward pass of {modules[kind]}" if kind in modules else "task's loss"
            line = f": {operations.first[kind]}" if kind in operations.first else ""
            return NonFinite(f"first in the {place}{line}", sound=True)
        text = _backward(model, value)
    return NonFinite(f"first in the backward pass: {text}", sound=True) if text else None


def best_of_ranks(finding: NonFinite | None, world_size: int) -> str | None:
    """Return the finding of the first rank whose weights were sound, else of any; the same on all ranks."""
    findings = [finding]
    if world_size > 1:
        findings = [None] * world_size
        dist.all_gather_object(findings, finding)
    told = sorted((f for f in findings if f is not None), key=lambda f: not f.sound)
    return told[0].text if told else None


def _backward(model: nn.Module, loss: Tensor) -> str:
    """Return the operation whose gradient is not finite, by torch's anomaly detection, or ""."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        try:
            torch.autograd.grad(loss, parameters, allow_unused=True)
        except RuntimeError as error:
            lines = [line for w in caught for line in _LINE.findall(str(w.message))]
            where = [f"{file}:{line} in {name}" for file, line, name in lines if "/torch/" not in file]
            return str(error).split("\n")[0].rstrip(".") + (f" (made at {where[-1]})" if where else "")
    return ""


def _weights(model: nn.Module, spoilt: list[str]) -> str:
    """Weights that are not finite: the gradient was lost at or after the last of them, in forward order."""
    names = [name for name, _ in model.named_parameters()]
    after = names[names.index(spoilt[-1]) + 1 :]
    listed = ", ".join(spoilt[:_LISTED]) + (", ..." if len(spoilt) > _LISTED else "")
    nearest = f"; the weights after {spoilt[-1]} are sound" if after else ""
    return f"the update before this step left weights that are not finite: {listed}{nearest}"


class _Operations(TorchFunctionMode):
    """The first operation that makes NaN of inputs without it, and the first that makes infinity.

    Kept apart because infinity is often meant (a mask in attention) and NaN never is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            for kind in _kinds(result) - self.first.keys():
                if not any(kind in _kinds(tensor) for tensor in tensors_in([args, kwargs])):
                    self.first[kind] = f"{getattr(func, '__name__', func)} at {_caller()}"
        return result


def _kinds(value: Tensor) -> set[str]:
    """Which of "nan" and "inf" a tensor holds."""
    if not value.is_floating_point():
        return set()
    plain = value.detach()
    return {kind for kind, look in (("nan", torch.isnan), ("inf", torch.isinf)) if bool(look(plain).any())}


def _caller() -> str:
    """Return the line of the user's code that torch was called from."""
    own = Path(__file__).parent
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and Path(frame.filename).parent != own:
            return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return "an unknown line"


@contextmanager
def _modules(model: nn.Module) -> Iterator[dict[str, str]]:
    """Note the first module to finish with NaN in its output, and the first with infinity."""
    found: dict[str, str] = {}

    def look(name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        for tensor in tensors_in(output):
            for kind in _kinds(tensor):
                found.setdefault(kind, f"{name or 'the model'} ({type(module).__name__})")

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(look, name)))
        yield found


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def _samples(batch: Batch, value: Tensor) -> str:
    rows = (~value.isfinite()).reshape(len(value), -1).any(1)
    ids = [str(int(i)) for i in batch[ID][rows]] if ID in batch else []
    return ", ".join(ids[:_LISTED]) + (", ..." if len(ids) > _LISTED else "")


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.detach().isfinite().all())
