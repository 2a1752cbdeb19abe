"""What the driver costs with many lanes: the real one, over lanes that only report, without Ray.

    python benchmarks/scale.py --write         # 11 minutes; the table goes into docs/benchmarks.md
    python benchmarks/scale.py --cells 60 --lanes 6 --rate 60 --minutes 0.1

Conductor, pump, broker, journal (fsync), ASHA's rungs, snapshots, progress.json and the lines of a run
without a terminal are the product's own, in one process; the workers are coroutines in a thread of their
own, whose processor time is told apart. A window's figures are the processor time of all other threads, the
memory of the process (RSS) and the reports of that window; slopes are least squares over the windows behind
the first tenth. On a busy machine the decisions' times say nothing; processor times do.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from leavings import save, scratch_folder, write_into_page
from machine import describe
from reporting_lanes import ReportingLanes
from scipy.stats import linregress

from orchestrator.api.progress import PlainLines
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.pump import Pump, conclude
from orchestrator.engine.running import Audience
from orchestrator.errors import ExitCode
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

SEEDS = 50
REDUCTION = 3
REPORTS_PER_GRACE = 7 / 3
"""Mean reports of a trial, over those up to the first of two rungs: a third of the trials passes each."""
CORE, DECISION_S = 1.0, 0.05
"""What is wanted: at most so many cores, and a decision within so many seconds (p95)."""
PAGE_BYTES = 4096


@dataclass(frozen=True)
class Sample:
    """One look. `cpu_s`: seconds on the processor by part; `rss_mb`: the process; the rest: sums."""

    t: float
    cpu_s: dict[str, float]
    rss_mb: float
    reports: int
    trials: int
    decisions: int


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=500)
    parser.add_argument("--rate", type=float, default=1_000.0, help="reports a second, all lanes together")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--mean", type=float, metavar="REPORTS", help="of a trial; default: as many as fill the time"
    )
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="keep the record")
    return parser.parse_args(words)


def study(asked: argparse.Namespace) -> StudySpec:
    """A grid of about so many cells under ASHA, whose trials keep all lanes busy for as long as is asked."""
    seeds = min(SEEDS, max(2, asked.cells // 10))
    parts = max(1, round(asked.cells / seeds) - 1)
    mean = asked.mean or asked.rate * asked.minutes * 60 / asked.cells
    grace = max(1, round(mean / REPORTS_PER_GRACE))
    return StudySpec.model_validate(
        {
            "name": "scale",
            "entrypoint": "scale:train",
            "metric": {"name": "score", "mode": "max"},
            "baseline": {f"part_{n}": True for n in range(parts)},
            "components": {f"part_{n}": {"without": {f"part_{n}": False}} for n in range(parts)},
            "seeds": seeds,
            "max_cells": 2 * asked.cells,
            "stopping": {
                "rule": "asha",
                "max": grace * REDUCTION**2,
                "unit": "report",
                "grace": grace,
                "reduction": REDUCTION,
            },
            "resources": {"max_parallel": asked.lanes, "cpus_per_worker": 1},
        }
    )


class Sampler:
    """Looks at the run from a thread of its own, and ends it when its time is over."""

    def __init__(self, asked: argparse.Namespace, pump: Pump, lanes: ReportingLanes) -> None:
        self._seconds, self._windows = asked.minutes * 60, asked.windows
        self._pump, self._lanes = pump, lanes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="sampler")
        self._main = threading.current_thread()
        self.samples: list[Sample] = []

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _look_on(self) -> None:
        began = time.monotonic()
        for window in range(self._windows + 1):
            if self._over.wait(max(0.0, began + window * self._seconds / self._windows - time.monotonic())):
                return
            self.samples.append(self._sample())
        self._pump.stop_soon("the time of the benchmark is over", ExitCode.INTERRUPTED)

    def _sample(self) -> Sample:
        counts = self._lanes.counts
        return Sample(
            time.monotonic(),
            self._cpu_s(),
            int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6,
            counts.reports,
            counts.trials,
            len(counts.decisions_s),
        )

    def _cpu_s(self) -> dict[str, float]:
        parts = {thread.name: thread for thread in threading.enumerate()}
        named = {
            "runtime's thread: hands out, decides, ends": self._main,
            "message path (broker)": parts.get("broker"),
            "thread beside: takes in, journal, progress.json": parts.get("orchestrator-pump"),
            "lines for people": parts.get("orchestrator-audience"),
            "lanes": parts.get("lanes"),
            "sampler": self._thread,
        }
        return {
            name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            for name, thread in named.items()
            if thread is not None and thread.ident is not None
        }


def run(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the study for its time; returns the figures."""
    spec = study(asked)
    plan = make_plan(spec)
    record = StudyRecord.open(Storage.open(folder / "runs"), spec, plan, Start("no code"))
    try:
        conductor = Conductor(record, spec, gpus_per_worker=0.0)
        with (
            ReportingLanes(asked.lanes, asked.lanes / asked.rate) as lanes,
            Audience(PlainLines()) as audience,
        ):
            pump = Pump(conductor, lanes, record, audience)
            sampler = Sampler(asked, pump, lanes)
            with sampler.beside(), pump.beside() as road:
                lanes.run(road)
        outcome = conclude(conductor, record)
    finally:
        record.close()
    found = figures(sampler.samples, lanes.counts.decisions_s)
    sizes = record.storage.sizes(record.paths.root)
    return {
        "cells": len(plan.cells),
        "lanes": asked.lanes,
        "wanted_rate": asked.rate,
        "counts": outcome.counts,
        "latest_report_s": lanes.counts.late_s,
        "journal_mb": sizes["journal.jsonl"] / 1e6,
        "journal_lines": record.journal.lines,
        **found,
    }


def figures(samples: Sequence[Sample], decisions_s: Sequence[float]) -> dict[str, Any]:
    """What the samples come to: sums over the run, and slopes over its windows."""
    kept = samples[max(1, len(samples) // 10) :]
    first, last = kept[0], kept[-1]
    reports, seconds = last.reports - first.reports, last.t - first.t
    parts = {name: last.cpu_s[name] - first.cpu_s.get(name, 0.0) for name in last.cpu_s}
    ours_s = sum(used for name, used in parts.items() if name not in ("lanes", "sampler"))
    windows = [_window(before, after) for before, after in pairwise(kept)]
    waits = sorted(decisions_s[first.decisions : last.decisions])
    return {
        "seconds": seconds,
        "reports": reports,
        "rate": reports / seconds,
        "trials": last.trials - first.trials,
        "cores": ours_s / seconds,
        "parts_cores": {name: used / seconds for name, used in parts.items()},
        "cpu_us_per_report": 1e6 * ours_s / reports,
        "decisions": len(waits),
        "decision_p50_s": statistics.median(waits) if waits else None,
        "decision_p95_s": waits[int(0.95 * (len(waits) - 1))] if waits else None,
        "rss_first_mb": first.rss_mb,
        "rss_last_mb": last.rss_mb,
        "cpu_slope": slope([w["minute"] for w in windows], [w["cpu_us_per_report"] for w in windows]),
        "rss_slope": slope([w["reports"] for w in windows], [1e6 * w["rss_mb"] for w in windows]),
        "windows": windows,
        "samples": [asdict(sample) for sample in samples],
    }


def _window(before: Sample, after: Sample) -> dict[str, float]:
    ours = [name for name in after.cpu_s if name not in ("lanes", "sampler")]
    used = sum(after.cpu_s[name] - before.cpu_s.get(name, 0.0) for name in ours)
    return {
        "minute": after.t / 60,
        "reports": after.reports,
        "rss_mb": after.rss_mb,
        "cpu_us_per_report": 1e6 * used / max(1, after.reports - before.reports),
    }


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Slope of least squares and its standard error; None for fewer than three windows."""
    if len(x) < 3:
        return None
    found = linregress(x, y)
    return float(found.slope), float(found.stderr)


def drawn(found: dict[str, Any]) -> str:
    """The table."""
    reached = "reached" if found["cores"] <= CORE else "NOT reached"
    p95 = found["decision_p95_s"]
    decided = "" if p95 is None else "; reached" if p95 <= DECISION_S else "; NOT reached"
    rows = [
        ("cells, lanes", f"{found['cells']:,}, {found['lanes']:,}"),
        ("reports a second: wanted, made", f"{found['wanted_rate']:,.0f}, {found['rate']:,.0f}"),
        (
            "seconds, reports, trials ended",
            f"{found['seconds']:.0f}, {found['reports']:,}, {found['trials']:,}",
        ),
        (f"cores that driver and message path take (wanted: {CORE:g})", f"{found['cores']:.3f}; {reached}"),
        *(
            (f"– {name}", f"{cores:.3f}")
            for name, cores in found["parts_cores"].items()
            if name not in ("lanes", "sampler")
        ),
        ("beside that, the lanes themselves", f"{found['parts_cores'].get('lanes', 0.0):.3f}"),
        ("processor time of a report", f"{found['cpu_us_per_report']:.0f} µs"),
        ("– a minute later", _slope(found["cpu_slope"], "µs")),
        ("memory (RSS) at first, at last", f"{found['rss_first_mb']:.0f} MB, {found['rss_last_mb']:.0f} MB"),
        ("– of a report", _slope(found["rss_slope"], "bytes")),
        (f"decisions; p50, p95 (wanted: {DECISION_S * 1e3:g} ms)", _decisions(found) + decided),
        ("journal", f"{found['journal_lines']:,} lines, {found['journal_mb']:.1f} MB"),
    ]
    lines = [f"{describe()}.", "", "| | |", "| --- | --- |", *(f"| {what} | {is_} |" for what, is_ in rows)]
    return "\n".join(lines) + "\n"


def _slope(found: tuple[float, float] | None, unit: str) -> str:
    return "–" if found is None else f"{found[0]:+.3g} ± {found[1]:.2g} {unit}"


def _decisions(found: dict[str, Any]) -> str:
    if found["decision_p95_s"] is None:
        return "none"
    p50, p95 = 1e3 * found["decision_p50_s"], 1e3 * found["decision_p95_s"]
    return f"{found['decisions']:,}; {p50:.3g} ms, {p95:.3g} ms"


def main(words: Sequence[str] | None = None) -> None:
    asked = arguments(words)
    with (
        scratch_folder(asked.keep) as folder,
        (folder / "lines.txt").open("w") as lines,
        contextlib.redirect_stderr(lines),
    ):
        found = run(asked, folder)
    table = drawn(found)
    sys.stdout.write(table)
    save(asked.json, scale=found)
    if asked.write:
        write_into_page("scale", table)


if __name__ == "__main__":
    main()
