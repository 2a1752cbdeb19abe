"""A9, P2 and P3: where the time of a step goes; a trace on request."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, failed, passed, skipped
from orchestrator.training.loading import MORE_MEMORY, PoolSettings, Request, shortage
from orchestrator.training.task import TRAIN

WARM_UP = 2
STEPS = 10
SECONDS = 15.0
SLOW_STEP_S = 1.0
MOST_WORKERS = 16
DATA_SHARE = 0.5
"""Share of a step spent waiting for data from which the data are the bottleneck..."""
DATA_S = 0.02
"""...and the seconds per step below which that is nothing to fail on."""
MOST_OPERATIONS = 15
PARTS = {
    "data": "waiting for data",
    "augment": "augmentation",
    "forward": "the forward pass",
    "backward": "the backward pass",
    "optimizer": "the optimizer's update",
    "logging": "fetching the loss",
}
COMPUTE = "where the hardware is not busy, a larger batch or train.precision: bf16 help"
ADVICE = {
    "data": "decode once in build_data, so that fetching a sample is indexing a tensor",
    "augment": (
        "let Task.augment work on whole tensors [B, ...] instead of sample by sample; one that follows from "
        "its arguments alone may run in the processes that load (augment_in_workers = True)"
    ),
    "forward": COMPUTE,
    "backward": COMPUTE,
    "optimizer": "many small parameters are updated one by one: a fused or foreach optimizer",
    "logging": "the step waits for its loss; a larger batch gives the device more to do in between",
}


def step_time(bench: Bench) -> GateVerdict:
    """Fails where training would mostly wait for its data; a step of over a second is flagged."""
    found = measure(bench)
    spent = found.spent
    total, slowest, text = _summary(bench, spent)
    table = _budget(spent)
    waiting = spent["data"] + spent["augment"]
    if waiting >= DATA_S and waiting / total > DATA_SHARE:
        return failed(
            f"a step takes {total * 1e3:.0f} ms, {waiting / total:.0%} of it before the model sees the batch",
            advice(found, "augment" if spent["augment"] > spent["data"] else "data"),
            "work that is the same every time belongs into build_data, which is kept between trials",
            tables=(table,),
        )
    if found.shortage is not None:
        return failed(found.shortage, MORE_MEMORY, tables=(table,))
    warnings = (f"a step takes over a second ({total:.1f} s)",) if total > SLOW_STEP_S else ()
    text += f"; {spent[slowest] / total:.0%} of it is {PARTS[slowest]}"
    return passed(text, tables=(table,), warnings=warnings)


def bottleneck(bench: Bench) -> GateVerdict:
    """Measure the time of a step by part, and name the bottleneck in one sentence."""
    found = measure(bench)
    spent = found.spent
    total, slowest, text = _summary(bench, spent)
    text += f"; the bottleneck is {PARTS[slowest]} ({spent[slowest] / total:.0%}): {advice(found, slowest)}"
    return passed(text, tables=(_budget(spent),))


def trace(bench: Bench) -> GateVerdict:
    """Write a trace of the profiler over the steps that are measured to `request.trace`."""
    if bench.request.trace is None:
        return skipped("no trace was asked for (--trace)")
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        measure(bench)
    profiler.export_chrome_trace(bench.request.trace)
    text = f"{bench.request.trace} (opens in https://ui.perfetto.dev or chrome://tracing)"
    return passed(text, tables=(_operations(profiler, bench.device.type),))


@dataclass(frozen=True)
class Steps:
    """Where the time of steps went."""

    spent: Mapping[str, float]
    """Seconds per step by part."""
    in_memory: bool
    """The samples are tensors in memory: no process loads them."""
    loading: PoolSettings | None
    """The processes that loaded them; None: the trial's own did."""
    busy: float
    """Share of the time for data in which this process computed: the rest is waiting."""
    shortage: str | None
    """What is missing for the batches on their way from the processes that load."""


def measure(bench: Bench) -> Steps:
    """Measure up to `STEPS` steps, after as many as it takes until nothing is left that was loaded before."""
    model = bench.model()
    optimizer = bench.optimizer(model)
    feed = bench.feed()
    loading = feed.settings
    ahead = WARM_UP + (loading.workers * loading.prefetch if loading is not None else 0)
    requests = _requests(bench, ahead + (1 if bench.request.brief else STEPS))
    feed.begin(iter(requests))
    deadline = time.monotonic() + SECONDS
    for number, request in enumerate(requests):
        if number in (0, ahead) or (number < ahead and time.monotonic() > deadline):
            steps, spent, busy_s = 0, dict.fromkeys(PARTS, 0.0), 0.0
        busy = time.thread_time()
        with _timed("data", spent, bench.device):
            raw = feed.take(request)
        busy_s += time.thread_time() - busy
        with _timed("augment", spent, bench.device):
            batch = raw if feed.augmented else bench.augmented(raw)
        with _timed("forward", spent, bench.device):
            loss = bench.loss(model, batch)
        with _timed("backward", spent, bench.device):
            loss.backward()  # type: ignore[no-untyped-call]
        with _timed("optimizer", spent, bench.device):
            optimizer.step()
            optimizer.zero_grad()
        with _timed("logging", spent, bench.device):
            float(loss.detach())
        steps += 1
        if time.monotonic() > deadline:
            break
    return Steps(
        {part: seconds / steps for part, seconds in spent.items()},
        bench.sets[TRAIN].in_memory,
        loading,
        busy_s / max(spent["data"], 1e-9),
        shortage(raw, loading) if loading is not None else None,
    )


def _requests(bench: Bench, count: int) -> list[Request]:
    order = bench.order()
    starts = (
        number * bench.batch_size % max(1, len(order) - bench.batch_size + 1) for number in range(count)
    )
    return [Request(TRAIN, order[start : start + bench.batch_size], 0) for start in starts]


def advice(found: Steps, part: str) -> str:
    """Return what makes a part of the step faster: which setting, and to what."""
    if part != "data" or found.in_memory:
        return ADVICE[part]
    workers = found.loading.workers if found.loading is not None else 0
    compute_s = sum(found.spent.values()) - found.spent["data"]
    # with processes, what is waited for is what they are behind: n of them take as long as n steps
    of_one_s = found.spent["data"] if not workers else (found.spent["data"] + compute_s) * workers
    wanted = min(MOST_WORKERS, max(workers + 1, math.ceil(of_one_s / max(compute_s, 1e-3))))
    if workers >= MOST_WORKERS:
        return f"{workers} processes do not keep up: {ADVICE['data']}"
    how = f"data.num_workers: {wanted} loads ahead while the model computes"
    if workers == 0 and found.busy < 0.5:
        return (
            f"{how}; loading mostly waits ({1 - found.busy:.0%} of the time), so that it needs no more CPUs"
        )
    return f"{how}, with resources.cpus_per_worker: {wanted + 1}; or {ADVICE['data']}"


@contextmanager
def _timed(part: str, spent: dict[str, float], device: torch.device) -> Iterator[None]:
    """Add the seconds inside to the part; on a GPU up to the end of what was started."""
    start = time.perf_counter()
    with torch.profiler.record_function(part):  # names it in a trace
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    spent[part] += time.perf_counter() - start


def _summary(bench: Bench, spent: Mapping[str, float]) -> tuple[float, str, str]:
    """Seconds of a step, its slowest part, and how to say the first."""
    total = sum(spent.values())
    rate = bench.batch_size / total
    return total, max(PARTS, key=spent.__getitem__), f"{total * 1e3:.1f} ms a step, {rate:,.0f} samples/s"


def _budget(spent: Mapping[str, float]) -> EvidenceTable:
    """Where a step's seconds go."""
    total = sum(spent.values())
    rows = tuple((part, f"{spent[part] * 1e3:.2f}", f"{spent[part] / total:.0%}") for part in PARTS)
    return EvidenceTable("A training step", ("part", "ms", "share"), rows)


def _operations(profiler: Any, device: str) -> EvidenceTable:
    """Return the operations that take longest, without what they call."""
    own = f"self_{'device' if device == 'cuda' else 'cpu'}_time_total"
    found = {event: getattr(event, own) for event in profiler.key_averages() if event.key not in PARTS}
    total = sum(found.values()) or 1.0
    rows = tuple(
        (event.key[:80], f"{event.count}", f"{taken / 1e3:.2f}", f"{taken / total:.0%}")
        for event, taken in sorted(found.items(), key=lambda entry: -entry[1])[:MOST_OPERATIONS]
    )
    return EvidenceTable("Operations", ("operation", "calls", "ms", "share"), rows)
