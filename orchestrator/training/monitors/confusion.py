"""The confusion matrix of the validation set."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from orchestrator.training.monitors import counts
from orchestrator.training.monitors.base import Monitor
from orchestrator.training.monitors.reading import Predictions, class_name
from orchestrator.training.ranks import total_over_ranks

_MOST_CLASSES = 200
_LISTED = 10


class Confusion(Monitor):
    """confusion/matrix as a picture; the most frequent confusions as text and as rows of the observations."""

    kinds = frozenset({"classification", "segmentation"})

    def validation_start(self) -> None:
        self._counts: Tensor | None = None

    def predictions(self, predictions: Predictions) -> None:
        if predictions.scores.shape[1] <= _MOST_CLASSES:
            found = counts.confusion(predictions)
            self._counts = found if self._counts is None else self._counts + found

    def validation_end(self, step: int) -> None:
        if self._counts is None:
            return  # too many classes for a picture
        matrix = total_over_ranks(self._counts, self.run.world_size).cpu().numpy()
        if self.run.world_rank > 0:
            return
        from orchestrator.training.monitors import drawing

        names = [class_name(self.run.task.class_names, c) for c in range(len(matrix))]
        self.run.sink.image("confusion/matrix", partial(drawing.matrix, matrix, names), step)
        off = matrix.copy()
        off[range(len(off)), range(len(off))] = 0
        order = off.argsort(axis=None, kind="stable")[::-1][:_LISTED]
        rows = [
            {"target": names[i // len(off)], "prediction": names[i % len(off)], "count": int(off.flat[i])}
            for i in map(int, order)
            if off.flat[i]
        ]
        self.run.sink.observe(self.name, rows, step)
        lines = [f"| {row['target']} | {row['prediction']} | {row['count']} |" for row in rows]
        head = ["| target | taken for | times |", "| --- | --- | --- |"]
        self.run.sink.text("confusion/most", "\n".join([*head, *lines]) if lines else "none", step)
