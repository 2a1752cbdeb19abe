"""Many studies, one after the other or on several processes; the result is the same either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from orchestrator.simulate.generator import Scenario, study
from orchestrator.simulate.methods import Method, MethodResult, SimulatedDesign, method
from orchestrator.simulate.metrics import Summary, summarise

_CHUNK = 100
"""Studies per piece of work: some seconds at most, so that progress is seen."""


@dataclass(frozen=True)
class Series:
    """The studies 0 … `studies` − 1 of the series `seed`, all with the same truth and design."""

    truth: Scenario
    design: SimulatedDesign
    studies: int
    seed: int = 0


def run(
    series: Series, methods: Sequence[Method], *, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> tuple[Summary, ...]:
    """Every method on the same studies, in the order of `methods`; `progress` hears how many are done."""
    judged: dict[str, list[MethodResult]] = {method.name: [] for method in methods}
    names = tuple(judged)
    done = 0
    for part in _parts(series, names, jobs):
        for name, found in part.items():
            judged[name] += found
        done += len(part[names[0]]) if names else 0
        if progress is not None:
            progress(done)
    return tuple(summarise(name, judged[name], series.truth.delta, series.design.margin) for name in names)


def judge(series: Series, names: Sequence[str], first: int, last: int) -> dict[str, list[MethodResult]]:
    """Return the studies `first` … `last` − 1 of the series by the methods of these names."""
    found: dict[str, list[MethodResult]] = {name: [] for name in names}
    for index in range(first, last):
        made = study(series.truth, series.design.seeds, series.seed, index)
        for name in names:
            found[name].append(method(name).judge(made, series.design))
    return found


def _parts(series: Series, names: Sequence[str], jobs: int) -> Iterator[dict[str, list[MethodResult]]]:
    pieces = [
        (series, names, first, min(first + _CHUNK, series.studies))
        for first in range(0, series.studies, _CHUNK)
    ]
    if jobs == 1 or len(pieces) == 1:
        yield from (judge(*piece) for piece in pieces)
        return
    with ProcessPoolExecutor(min(jobs, len(pieces)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(judge, *zip(*pieces, strict=True))
