"""An autoencoder of handwritten digits in two stages: plain L1 first, the adversarial loss when that works.

Config keys: data.{batch_size, mirrored}, model.{width, code, batchnorm}, loss.{gate, adversarial}, and what
the built-in loop reads. The gate is the L1 error, as a running mean over training batches, at which the
second stage begins; 1 opens it from the start, since no error is larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Streams, Task
from trials.digits import IMAGE, LABEL, TRAIN_SHARE, load_scans

DRAWN = "drawn"
STAGE = "stage"
REAL = "real"
FAKE = "fake"
FOOLED = "fooled"

PIXELS = 64
FORGETTING = 0.05
"""Weight of the latest batch in the running mean of the L1 error."""


class Generator(nn.Module):
    """Encoder, decoder, a critic that tells drawn digits from scans, and the gate between the stages.

    The gate is part of the model's state, so an interrupted trial goes on in the stage that it was in.
    """

    error: Tensor  # [] float32, running mean of the L1 error
    opened: Tensor  # [] bool, stays true once it is

    def __init__(self, width: int, code: int, batchnorm: bool, gate: float) -> None:
        super().__init__()
        self.gate = gate
        self.encoder = perceptron(PIXELS, width, code, batchnorm)
        self.decoder = perceptron(code, width, PIXELS, batchnorm)
        self.critic = perceptron(PIXELS, width, 1, batchnorm=False)
        self.register_buffer("error", torch.tensor(1.0))
        self.register_buffer("opened", torch.tensor(gate >= 1.0))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """image [B, 1, 8, 8] -> drawn [B, 1, 8, 8], stage [B] (0 or 1), and three scores of the critic, [B].

        real: of scans; fake: of what is drawn, to train the critic; fooled: the same, to train the decoder.
        """
        image = batch[IMAGE].flatten(1)  # [B, 64]
        drawn = torch.sigmoid(self.decoder(self.encoder(image)))  # [B, 64]
        if self.training:
            self._measure((drawn - image).abs().mean())
        frozen = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        return {
            DRAWN: drawn.view_as(batch[IMAGE]),
            STAGE: self.opened.float().expand(len(image)),
            REAL: self.critic(image).squeeze(1),
            FAKE: self.critic(drawn.detach()).squeeze(1),
            FOOLED: functional_call(self.critic, frozen, (drawn,)).squeeze(1),
        }

    @torch.no_grad()
    def _measure(self, error: Tensor) -> None:
        self.error.lerp_(error.detach().float(), FORGETTING)
        self.opened.logical_or_(self.error <= self.gate)


def perceptron(inputs: int, width: int, outputs: int, batchnorm: bool) -> nn.Sequential:
    """[B, inputs] -> [B, outputs], with one hidden layer."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.BatchNorm1d(width) if batchnorm else nn.Identity(),
        nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )


class Draw(Task):
    """Draw a digit again from a short code.

    Batch: image [B, 1, 8, 8] float32 in [0, 1], label [B] int64, id [B] int64. Outputs: see `Generator`.
    """

    kind = "generation"
    data_keys = ("mirrored",)

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """All scans in one table, left and right exchanged if data.mirrored says so."""
        pixels, labels = load_scans()
        images = pixels.reshape(-1, 1, 8, 8) / 16.0
        if config["data"]["mirrored"]:
            images = images.flip(3)
        return {"all": {IMAGE: images, LABEL: labels, "id": torch.arange(len(labels))}}

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """80 % for training, the rest for validation, another split for every seed."""
        table = data["all"]
        order = torch.randperm(len(table[LABEL]), generator=generator)
        cut = int(TRAIN_SHARE * len(order))
        parts = {"train": order[:cut], "val": order[cut:]}
        return {name: {key: column[rows] for key, column in table.items()} for name, rows in parts.items()}

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a `Generator` as config["model"] describes it, with the gate of config["loss"]."""
        model = config["model"]
        return Generator(
            width=int(model["width"]),
            code=int(model["code"]),
            batchnorm=bool(model["batchnorm"]),
            gate=float(config["loss"]["gate"]),
        )

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """By module name: arms share the weights of the layers that they share."""
        streams.reset_by_name(model)

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """L1; in the second stage also the adversarial and the critic's (Goodfellow et al. 2014). [].

        One loss trains both sides: each critic score lets gradients through to one of them only.
        """
        weight = float(self.config["loss"]["adversarial"])
        l1 = (outputs[DRAWN] - batch[IMAGE]).abs().mean()
        fooling = F.softplus(-outputs[FOOLED])
        telling = F.softplus(-outputs[REAL]) + F.softplus(outputs[FAKE])
        return l1 + (outputs[STAGE] * (weight * fooling + telling)).mean()

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """[B] each: l1, mean absolute error; sharpness, 1 where edges are as strong as in the scan; stage."""
        drawn, image = outputs[DRAWN], batch[IMAGE]
        return {
            "l1": (drawn - image).abs().mean(dim=(1, 2, 3)),
            "sharpness": edges(drawn) / edges(image),
            "stage": outputs[STAGE],
        }


def edges(images: Tensor) -> Tensor:
    """[B]: total variation, the sum of the differences between neighbouring pixels."""
    down, right = images.diff(dim=2).abs(), images.diff(dim=3).abs()
    return down.sum(dim=(1, 2, 3)) + right.sum(dim=(1, 2, 3))
