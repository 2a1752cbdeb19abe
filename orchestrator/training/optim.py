"""The built-in optimizers: torch's own update rules without the `torch.optim.Optimizer` base class.

The base class imports `torch._dynamo` when the first optimizer is made, about a second of start-up in every
worker process for a compiler that nobody asked for. The update rules are torch's public functional ones
(`torch.optim.sgd.sgd`, `torch.optim.adam.adam`), so the numbers are torch's, bit for bit (a test compares).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from orchestrator.training.settings import OptimSettings

_FUSED_ON = ("cpu", "cuda")


class PlainOptimizer:
    """SGD with momentum, Adam or AdamW over one group of parameters."""

    def __init__(self, params: Iterable[Tensor], settings: OptimSettings) -> None:
        self._settings = settings
        self._params = [param for param in params if param.requires_grad]
        self.hold: Tensor | None = None
        """A number [] on the device: while it is 1, `step` changes nothing (fused updates only)."""
        if not self._params:
            raise ValueError("the model has no parameter to train")
        group = {"params": self._params, "lr": settings.lr, "weight_decay": settings.weight_decay}
        beta = settings.momentum
        own = {"momentum": beta} if settings.name == "sgd" else {"betas": (beta, 0.999)}
        self.param_groups: list[dict[str, Any]] = [group | own]
        self._state: list[dict[str, Tensor]] = [{} for _ in self._params]

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        live = [(p, s) for p, s in zip(self._params, self._state, strict=True) if p.grad is not None]
        if not live:
            return
        fused = self._settings.fused and all(
            p.device.type in _FUSED_ON and p.is_floating_point() for p, _ in live
        )
        if self._settings.name == "sgd":
            self._sgd(live, fused)
        else:
            self._adam(live, fused)

    def _sgd(self, live: list[tuple[Tensor, dict[str, Tensor]]], fused: bool) -> None:
        group = self.param_groups[0]
        buffers = [state.get("momentum") for _, state in live]
        params = [param for param, _ in live]
        sgd(
            params,
            [param.grad for param in params if param.grad is not None],
            buffers,
            fused=fused,
            found_inf=self.hold if fused else None,
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for (_, state), buffer in zip(live, buffers, strict=True):
            if buffer is not None:
                state["momentum"] = buffer

    def _adam(self, live: list[tuple[Tensor, dict[str, Tensor]]], fused: bool) -> None:
        group = self.param_groups[0]
        for param, state in live:
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=param.device)
                state["mean"] = torch.zeros_like(param, memory_format=torch.preserve_format)
                state["square"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        adam(
            [param for param, _ in live],
            [param.grad for param, _ in live if param.grad is not None],
            [state["mean"] for _, state in live],
            [state["square"] for _, state in live],
            [],
            [state["step"] for _, state in live],
            fused=fused,
            found_inf=self.hold if fused else None,
            decoupled_weight_decay=self._settings.name == "adamw",
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for param in self._params:
            param.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, as many states as parameters, in their order."""
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        state = [dict(each) for each in self._state]
        return {"name": self._settings.name, "groups": groups, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()` of an optimizer over the same parameters.

        Raises:
            ValueError: the state belongs to another optimizer or another model.
        """
        states = state_dict["state"]
        if state_dict["name"] != self._settings.name or len(states) != len(self._params):
            raise ValueError(
                f"the checkpoint holds {state_dict['name']} over {len(states)} parameters, "
                f"the trial has {self._settings.name} over {len(self._params)}"
            )
        for group, saved in zip(self.param_groups, state_dict["groups"], strict=True):
            group.update(saved)
        for i, (param, saved) in enumerate(zip(self._params, states, strict=True)):
            self._state[i] = {name: value.detach().clone().to(param.device) for name, value in saved.items()}


def torch_optimizer(params: Iterable[Tensor], settings: OptimSettings) -> torch.optim.Optimizer:
    """Return torch's own class with these settings, for what asks for one, such as torch's schedulers."""
    trained = [param for param in params if param.requires_grad]
    # torch takes what is not said for "where the device has it"
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    common["fused"] = settings.fused and all(
        p.device.type in _FUSED_ON and p.is_floating_point() for p in trained
    )
    if settings.name == "sgd":
        return torch.optim.SGD(trained, momentum=settings.momentum, **common)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(trained, betas=(settings.momentum, 0.999), **common)
