"""A1: what the data are. Shapes, types and ranges of a batch, labels, and a look at some samples."""

from __future__ import annotations

import base64
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.gates.bench import Bench, HookFault, called
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, Picture, failed, passed
from orchestrator.training.ranks import to_device
from orchestrator.training.task import ID, TRAIN, VAL, Batch
from orchestrator.training.validation import ONE_NUMBER, evaluating, number_fault, score_fault

SWEEP_S = 5.0
"""Seconds for going through the samples; what was not reached is said."""
BRIEF_SWEEP_S = 1.0
MOST_CLASSES = 100
BUILT_IN = ("epoch", "step", "train/loss", "val/loss")
CELL = 64
"""Pixels that a sample is enlarged to in a picture, at least."""
GAP = 2
COLUMNS = 8


def look(bench: Bench) -> GateVerdict:
    """Fails where a hook gives what the loop cannot use, or the data cannot be what was meant."""
    raw = bench.take(TRAIN, bench.order()[: bench.batch_size])
    batch = bench.augmented(raw)
    problems = list(_constants(raw)) or list(_labels_out_of_range(bench))
    if not problems:
        problems = list(_not_finite(batch, bench.loss(bench.model(), batch)))
        _try_labels(bench)
        problems += _missing_metrics(bench) if bench.reports_known else []
    counts, seen = _sweep(bench)
    train, val = (bench.sets[name].count for name in (TRAIN, VAL))
    tables = (_columns(batch), *(_histogram(name, found) for name, found in counts.items()))
    shown = {"tables": tables, "pictures": _pictures(bench, raw, batch)}
    if problems:
        return failed(problems[0][0], *(fix for _, fix in problems), **shown)
    shapes = (f"{name} {list(value.shape)} {_type(value)}" for name, value in batch.items() if name != ID)
    text = f"{train} training and {val} validation samples; a batch: {', '.join(shapes)}"
    if seen < train + val:
        text += f"; labels counted in {seen} of them ({_sweep_s(bench):.0f} s)"
    doubles = (name for name, value in batch.items() if value.dtype == torch.float64)
    warnings = tuple(f"{name} is float64: twice the memory, and slow on a GPU" for name in doubles)
    return passed(text, **shown, warnings=warnings)


def label_columns(batch: Batch) -> list[str]:
    """Integer tensors with one value per sample, ids apart."""
    return [
        name
        for name, value in batch.items()
        if name != ID and value.dim() == 1 and not value.is_floating_point() and not value.is_complex()
    ]


def _swept(bench: Bench) -> Iterator[tuple[str, Batch]]:
    """Yield both sets from front to back, each as far as half of the time takes us."""
    step = min(1024, max(32, bench.batch_size))
    for name in (TRAIN, VAL):
        deadline = time.monotonic() + _sweep_s(bench) / 2
        for rows in torch.split(torch.arange(bench.sets[name].count), step):
            if time.monotonic() > deadline:
                break
            yield name, bench.take(name, rows)


def _sweep_s(bench: Bench) -> float:
    return BRIEF_SWEEP_S if bench.request.brief else SWEEP_S


def _sweep(bench: Bench) -> tuple[dict[str, dict[str, Counter[int]]], int]:
    """Labels by column and set; how many samples were reached."""
    counts: dict[str, dict[str, Counter[int]]] = {}
    seen = 0
    for name, batch in _swept(bench):
        seen += len(batch[ID])
        for column in label_columns(batch):
            counts.setdefault(column, {}).setdefault(name, Counter()).update(batch[column].tolist())
    few = {
        column: found for column, found in counts.items() if len(set().union(*found.values())) <= MOST_CLASSES
    }
    return few, seen


def _labels_out_of_range(bench: Bench) -> Iterator[tuple[str, str]]:
    """Labels that the declared classes do not have."""
    classes = bench.task.classes
    if classes is None:
        return
    for name, batch in _swept(bench):
        for column in label_columns(batch):
            low, high = int(batch[column].min()), int(batch[column].max())
            if low < 0 or high >= classes:
                said = f"labels {low} to {high} in {name}[{column!r}], with {classes} classes declared"
                yield said, f"build_data: let labels run from 0 to {classes - 1}"
                return


def _try_labels(bench: Bench) -> None:
    """Ask for the loss of every batch, for what it raises."""
    model = bench.model()
    with evaluating(model):
        for _, batch in _swept(bench):
            bench.loss(model, batch)


def _missing_metrics(bench: Bench) -> list[tuple[str, str]]:
    """Metrics that the study waits for and the loop would not report."""
    model = bench.model()
    batch = bench.take(VAL, torch.arange(min(bench.batch_size, bench.sets[VAL].count)))
    with evaluating(model):
        outputs = bench.outputs(model, batch)
        there = to_device(batch, bench.device)
        scores = called("scores", lambda: bench.task.scores(outputs, there))
        if not isinstance(scores, Mapping):
            raise HookFault("scores", f"gives a {type(scores).__name__}", "give a dict of named scores")
        size = len(batch[ID])
        for name, value in scores.items():
            fault = score_fault(name, value, size)
            if fault is not None:
                raise HookFault("scores", fault, "give one value per sample")
        metrics = called("metrics", bench.task.metrics)
        if metrics:
            inputs = called("metric_inputs", lambda: bench.task.metric_inputs(outputs, there))
            for name, metric in metrics.items():
                update = partial(metric.to(bench.device).update, *inputs)
                called(f"metrics[{name!r}]", update, "see metric_inputs, which feeds it")
                fault = _computed(name, metric)
                if fault is not None:
                    raise HookFault("metrics", fault, ONE_NUMBER)
    reported = [*BUILT_IN, *(f"val/{name}" for name in [*scores, *metrics])]
    missing = [name for name in bench.request.metrics if name not in reported]
    if not missing:
        return []
    said = f"the study waits for {', '.join(missing)}, but a trial reports {', '.join(reported)}"
    return [
        (said, f"add it to what scores() or metrics() of {bench.task_class.__name__} return"),
        ("", "or name another one under `metric:` in the study file"),
    ]


def _computed(name: str, metric: Any) -> str | None:
    """Why what a metric computes is no number; None where it is one, or where one batch is too little."""
    try:
        return number_fault(name, metric.compute())
    except Exception:  # the whole set may be enough
        return None


def _constants(batch: Batch) -> Iterator[tuple[str, str]]:
    for name, value in batch.items():
        if value.is_floating_point() and value.dim() > 1 and float(value.min()) == float(value.max()):
            said = f"{name} is {float(value.min()):g} everywhere in a batch of {len(value)}"
            yield said, f"build_data: is {name} read, and scaled in floating point?"


def _not_finite(batch: Batch, loss: Tensor) -> Iterator[tuple[str, str]]:
    for name, value in batch.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            said = f"{name} holds NaN or infinite values"
            yield said, f"build_data or augment: where does {name} lose them?"
    if not bool(torch.isfinite(loss)):
        yield f"the loss of the first batch is {float(loss)}", "loss: log(0), or a division by 0?"


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _columns(batch: Batch) -> EvidenceTable:
    rows = []
    for name, value in batch.items():
        numbers = value.double() if not value.is_complex() else value.abs().double()
        low, mean, high = (f"{float(x):.4g}" for x in (numbers.min(), numbers.mean(), numbers.max()))
        rows.append((name, str(list(value.shape)), _type(value), low, mean, high))
    columns = ("tensor", "shape", "type", "min", "mean", "max")
    return EvidenceTable("A training batch, as the model gets it", columns, tuple(rows))


def _histogram(column: str, found: dict[str, Counter[int]]) -> EvidenceTable:
    labels = sorted(set().union(*found.values()))
    totals = {name: max(1, counter.total()) for name, counter in found.items()}
    rows = tuple(
        (str(label), *(f"{found[n][label]} ({found[n][label] / totals[n]:.1%})" for n in found))
        for label in labels
    )
    return EvidenceTable(f"{column}: how often each value occurs", (column, *found), rows)


def _pictures(bench: Bench, raw: Batch, batch: Batch) -> tuple[Picture, ...]:
    column = image_column(raw)
    if column is None or bench.request.brief:
        return ()
    rows, names = [raw[column]], ["as they lie there"]
    if batch[column].shape[1:] == raw[column].shape[1:]:
        rows.append(batch[column])
        names.append("as the model gets them in training")
    val = bench.take(VAL, torch.arange(min(COLUMNS, bench.sets[VAL].count)))
    title = f"{column}: training samples {', '.join(names)}; last row: validation samples"
    return (Picture(title, base64_png(panel([*rows, val[column]]))),)


def image_column(batch: Batch) -> str | None:
    """Return the first tensor that looks like images: [B, 1 or 3, H, W] or [B, H, W], sides from 4."""
    for name, tensor in batch.items():
        fits = (tensor.dim() == 4 and tensor.shape[1] in (1, 3)) or tensor.dim() == 3
        drawable = tensor.is_floating_point() or tensor.dtype == torch.uint8
        if name != ID and fits and drawable and min(tensor.shape[-2:]) >= 4:
            return name
    return None


def panel(rows: list[Tensor]) -> Tensor:
    """[H, W, 3] uint8: each tensor ([up to COLUMNS, 1 or 3, h, w] or [.., h, w]) a row, on one grey scale."""
    pictures = [(row if row.dim() == 4 else row[:, None]).float()[:COLUMNS] for row in rows]
    low = min(float(row.min()) for row in pictures)
    high = max(float(row.max()) for row in pictures)
    lines = []
    for row in pictures:
        scaled = ((row - low) / max(high - low, 1e-12)).expand(-1, 3, -1, -1)
        factor = max(1, -(-CELL // max(scaled.shape[-2:])))
        large = scaled.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        framed = F.pad(large, (*[GAP] * 4, 0, 0, 0, COLUMNS - len(large)), value=1.0)
        lines.append(torch.cat(list(framed), dim=2))  # [3, h, COLUMNS * w]
    return (torch.cat(lines, dim=1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def base64_png(pixels: Tensor) -> str:
    """[H, W, 3] uint8 as a PNG file, for a data URI."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()
