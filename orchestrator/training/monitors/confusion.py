"""The confusion matrix of the validation set."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from orchestrator.training.monitors import counts
from orchestrator.training.monitors.reading import Predictions, class_name

_MOST_CLASSES = 200
_LISTED = 10


class Confusion(counts.Summing):
    """confusion/matrix as a picture; the most frequent confusions as text and as rows of the observations."""

    kinds = frozenset({"classification", "segmentation"})

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        few = predictions.scores.shape[1] <= _MOST_CLASSES  # more are too many for a picture
        return {"matrix": counts.confusion(predictions)} if few else {}

    def validation_end(self, step: int) -> None:
        totals = self.totals()
        if not totals or self.run.world_rank > 0:
            return
        matrix = totals["matrix"].numpy()
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
