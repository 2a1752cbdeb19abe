"""A13: the learning-rate range test (L. N. Smith, Cyclical Learning Rates, 2017): the rate grows every step.

The suggestion is the rate at which the smoothed loss falls most steeply per factor of the rate.
"""

from __future__ import annotations

import torch

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceCurve, GateVerdict, failed, passed
from orchestrator.training.task import TRAIN

LOW, HIGH = 1e-6, 10.0
STEPS = 120
SMOOTHING = 0.9
"""Weight of the past in the moving average, with Adam's correction for its start."""
BLOWN_UP = 1.5
"""Times the first loss at which the test ends."""


def find_rate(bench: Bench, steps: int = STEPS) -> GateVerdict:
    """Train the baseline with rates from 1e-6 to 10; curve, suggestion, and what the config has."""
    points = range_test(bench, steps)
    rate = suggestion(points)
    title = "Smoothed training loss by learning rate"
    curve = EvidenceCurve(title, "learning rate", "loss", tuple(points), log_x=True, mark=rate)
    if rate is None:
        cause = "orchestrate check tells what else is wrong"
        return failed("the loss falls at no learning rate", cause, curves=(curve,))
    text = f"the loss falls most steeply at a learning rate of {rate:.1e}"
    optim = bench.config.get("optim") or {}
    own = optim.get("lr") if isinstance(optim, dict) else None
    if isinstance(own, int | float) and own > 0:
        text += f"; the config has {own:.1e}"
    return passed(text, curves=(curve,))


def range_test(bench: Bench, steps: int) -> list[tuple[float, float]]:
    """(rate, smoothed loss) per step, up to where the loss has blown up."""
    model = bench.model()
    optimizer = bench.optimizer(model)
    average = 0.0
    points: list[tuple[float, float]] = []
    order, epoch, start = bench.order(), 0, 0
    for step in range(steps):
        if start + bench.batch_size > len(order):
            epoch, start = epoch + 1, 0
            order = bench.order(epoch)
        rows, start = order[start : start + bench.batch_size], start + bench.batch_size
        rate = LOW * (HIGH / LOW) ** (step / (steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = bench.loss(model, bench.augmented(bench.take(TRAIN, rows), epoch))
        if not torch.isfinite(loss):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * float(loss.detach())
        smoothed = average / (1 - SMOOTHING ** (step + 1))
        points.append((rate, smoothed))
        if smoothed > BLOWN_UP * points[0][1] and step > steps // 10:
            break
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return points


def suggestion(points: list[tuple[float, float]], window: int = 5) -> float | None:
    """Rate of the steepest fall over `window` steps to either side; None where the loss never falls."""
    bottom = min(range(len(points)), key=lambda i: points[i][1], default=0)
    best, found = 0.0, None
    for i in range(window, min(bottom, len(points) - window - 1) + 1):
        fall = points[i - window][1] - points[i + window][1]
        if fall > best:
            best, found = fall, points[i][0]
    return found
