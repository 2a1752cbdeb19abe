"""How the predictions of the validation set are distributed."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.training.monitors.base import Monitor
from orchestrator.training.monitors.reading import READ, Predictions
from orchestrator.training.ranks import rows_of_all_ranks
from orchestrator.training.validation import Seen

_ROWS = 4096  # of each rank, the first of the pass: enough for a histogram


class Distribution(Monitor):
    """Histograms under predictions/.

    chosen and target    the class that was chosen, and the right one (classification, segmentation, language)
    confidence           the probability of the chosen class; multilabel: of every label
    value and residual   regression: predictions, and prediction minus target
    <output>             generation, and tasks without a kind: every output as it is
    """

    def validation_start(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}
        self._held: dict[str, int] = {}

    def validation_batch(self, seen: Seen) -> None:
        if self.run.task.kind not in READ:
            for name, output in seen.outputs.items():
                if output.is_floating_point():
                    self._keep(name, output.flatten())

    def predictions(self, predictions: Predictions) -> None:
        if predictions.kind == "regression":
            self._keep("value", predictions.scores.flatten())
            self._keep("residual", (predictions.scores - predictions.target).flatten())
        elif predictions.kind == "multilabel":
            self._keep("confidence", predictions.probabilities.flatten())
        else:
            self._keep("chosen", predictions.chosen)
            self._keep("target", predictions.target)
            self._keep("confidence", predictions.probabilities.amax(1))

    def validation_end(self, step: int) -> None:
        for name, parts in self._parts.items():
            values = rows_of_all_ranks(torch.cat(parts).float(), self.run.world_size)
            self.run.sink.histogram(f"predictions/{name}", values.cpu().numpy(), step)

    def _keep(self, name: str, values: Tensor) -> None:
        room = _ROWS - self._held.get(name, 0)
        if room > 0:
            self._parts.setdefault(name, []).append(values[:room].detach())
            self._held[name] = self._held.get(name, 0) + min(room, len(values))
