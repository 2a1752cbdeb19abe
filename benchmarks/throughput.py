"""How many reports a second the driver takes in, logging on, and how long a decision at a rung takes.

    python benchmarks/throughput.py           # 4 trials x 20,000 reports on 2 lanes, then rungs

Two studies of a function that only reports. `reports`: few rungs; every report goes through the trial's
log (metrics, TensorBoard), the message actor and the driver; counted until the driver has journalled the
trial's end, for which it waits until it has taken in all of its reports. `decisions`: a rung at every report,
so that every report waits for the scheduler, the journal (fsync) and the way back.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sessions
import yaml
from leavings import save, scratch_folder
from machine import describe
from spans import seconds

from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage

HERE = Path(__file__).resolve().parent
COMMAND = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
IDLE_LIMIT_S, TOTAL_LIMIT_S = 120.0, 600.0
WANTED = 1000.0
"""Reports a second that the design asks for."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=20_000, help="per trial of the first study")
    parser.add_argument("--decisions", type=int, default=100, help="rungs per trial of the second study")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=2, help="of both arms; five times as many for rungs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    return parser.parse_args(words)


def study_file(
    name: str, length: int, grace: int, reduction: float, lanes: int, seeds: int, scratch: Path
) -> dict[str, Any]:
    """A study of `flood` with rungs at grace · reduction^i below `length`."""
    return {
        "name": name,
        "entrypoint": "flood_trial:flood",
        "metric": {"name": "value", "mode": "max"},
        "baseline": {"kind": f"{name}-a", "notes": str(scratch)},
        "components": {"kind": {"swap": {"b": {"kind": f"{name}-b"}}}},
        "design": "leave-one-out",
        "seeds": seeds,
        "stopping": {
            "rule": "asha",
            "max": length,
            "unit": "report",
            "grace": grace,
            "reduction": reduction,
        },
        "resources": {"max_parallel": lanes},
        "storage": str(scratch / "runs"),
    }


def run_study(study: dict[str, Any], scratch: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run a study with the real command; returns what its trials noted and its journal."""
    name = study["name"]
    code = scratch / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(HERE / "flood_trial.py", code)
    file = code / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False))
    storage = Storage.open(study["storage"])
    output = scratch / f"{name}.out"
    ended = sessions.run(
        [sys.executable, "-c", COMMAND, "ablate", "--config", str(file)],
        cwd=code,
        scratch=scratch,
        output=output,
        progress=lambda: output.stat().st_size,
        idle_limit_s=IDLE_LIMIT_S,
        total_limit_s=TOTAL_LIMIT_S,
    )
    if ended.code != 0:
        raise SystemExit(f"{name} ended with {ended.code} {ended.hung or ''}:\n{output.read_text()[-4000:]}")
    notes = [json.loads(file.read_text()) for file in sorted(scratch.glob(f"{name}-*.json"))]
    return notes, [line.plain() for line in read_journal(storage, StudyPaths.of(name).journal).lines]


def report_rate(notes: Sequence[dict[str, Any]], journal: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Reports a second: all of them, from the first one to the last journalled end of a trial."""
    count = sum(len(note["took_s"]) for note in notes)
    ends = [event["t"] for event in journal if event["event"] == "end"]
    span_s = max(ends) - min(note["began"] for note in notes)
    return {
        "reports": count,
        "trials": len(notes),
        "span_s": span_s,
        "per_s": count / span_s,
        "behind_s": max(ends) - max(note["ended"] for note in notes),
        **latencies([took for note in notes for took in note["took_s"]], "report"),
    }


def decision_rate(
    notes: Sequence[dict[str, Any]], journal: Sequence[dict[str, Any]], lanes: int
) -> dict[str, Any]:
    """Decisions a second while all lanes ask, and how long a report at a rung waits."""
    count = sum(event["event"] == "decision" for event in journal)
    asking_s = sum(note["ended"] - note["began"] for note in notes) / lanes
    return {
        "decisions": count,
        "asking_s": asking_s,
        "per_s": count / asking_s,
        # the last report has no rung: it is the end
        **latencies([took for note in notes for took in note["took_s"][:-1]], "decision"),
    }


def latencies(took_s: Sequence[float], what: str) -> dict[str, float]:
    """Median and 95th percentile, seconds."""
    cuts = statistics.quantiles(took_s, n=20)
    return {f"{what}_p50_s": statistics.median(took_s), f"{what}_p95_s": cuts[-1]}


def dense_reduction(count: int) -> float:
    """A `reduction` that puts a rung between any two of `count` reports (grace 1)."""
    return 1 + 1 / count


def show(reports: dict[str, Any], decisions: dict[str, Any]) -> str:
    """The table."""
    rows = [
        ("reports a second, logging on", f"{reports['per_s']:,.0f}"),
        ("reports in all", f"{reports['reports']:,} of {reports['trials']} trials"),
        ("a report takes, p50 / p95", _pair(reports, "report")),
        ("driver behind the last report by", seconds(reports["behind_s"])),
        ("decisions a second, every report at a rung", f"{decisions['per_s']:,.0f}"),
        ("a decision at a rung takes, p50 / p95", _pair(decisions, "decision")),
    ]
    lines = [
        f"{describe()}.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {what} | {value} |" for what, value in rows),
    ]
    reached = "reached" if reports["per_s"] >= WANTED else "NOT reached"
    lines += ["", f"Wanted: at least {WANTED:,.0f} reports a second; {reached}."]
    return "\n".join(lines)


def _pair(figures: dict[str, Any], what: str) -> str:
    p50, p95 = (figures[f"{what}_{which}_s"] * 1e3 for which in ("p50", "p95"))
    return f"{p50:.3g} ms / {p95:.3g} ms"


def main(words: Sequence[str] | None = None) -> None:
    chosen = arguments(words)
    lanes, seeds = chosen.lanes, chosen.seeds
    with scratch_folder(chosen.keep) as scratch:
        few = study_file("reports", chosen.reports, 20, 2, lanes, seeds, scratch)
        print(f"{2 * seeds} trials x {chosen.reports} reports ...", file=sys.stderr, flush=True)
        reports = report_rate(*run_study(few, scratch))
        reduction = dense_reduction(chosen.decisions)
        dense = study_file("decisions", chosen.decisions, 1, reduction, lanes, 5 * seeds, scratch)
        print(f"{10 * seeds} trials x {chosen.decisions} rungs ...", file=sys.stderr, flush=True)
        decisions = decision_rate(*run_study(dense, scratch), lanes)
        print(show(reports, decisions))
        save(chosen.json, reports=reports, decisions=decisions)


if __name__ == "__main__":
    main()
