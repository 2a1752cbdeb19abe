"""What a report costs on Ray, and what a lane costs that is silent: processor time of every process, by kind.

    python benchmarks/messages.py --write      # 5 minutes; the table goes into docs/benchmarks.md
    python benchmarks/messages.py --lanes 2 --rate 30 --quiet 5 --seconds 5

One study by the real command; its trials are silent together for a while, and then each reports `--rate`
times a second. All processes of the command are looked at twice a second (/proc): the difference between
the two phases is what reports cost, the first alone what lanes cost in which nothing happens. Logging is
on; the worker's time holds all that a report does there, metrics tables and TensorBoard included.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sessions
import yaml
from leavings import save, scratch_folder, write_into_page
from machine import describe

HERE = Path(__file__).resolve().parent
COMMAND = "import sys; from orchestrator.cli.app import main; sys.exit(main())"
IDLE_LIMIT_S, START_S = 300.0, 240.0
LOOK_EVERY_S = 0.5
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
KINDS = {
    "ray::RayTrainWorker": "worker",
    "ray::MessageActor": "message actor",
    "ray::Lane": "trial actor",
}
"""By the beginning of a process's title; the command itself is the driver, all others are Ray's own."""
DRIVER, OTHERS = "driver", "Ray's own processes"
WORKER_SHARE, PATH_SHARE = 0.03, 0.02
"""What is wanted: shares of a core for a lane at the rate of the aims, in its worker, and beyond it."""
WANTED_AT = 30.0


@dataclass(frozen=True)
class Look:
    """Seconds on the processor that each kind of process has taken so far."""

    t: float
    cpu_s: dict[str, float]
    rss_mb: dict[str, float]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", type=int, default=8, help="trials at the same time")
    parser.add_argument("--rate", type=float, default=WANTED_AT, help="reports a second and lane")
    parser.add_argument("--quiet", type=float, default=60.0, metavar="SECONDS", help="without reports")
    parser.add_argument("--seconds", type=float, default=90.0, help="with reports")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    return parser.parse_args(words)


def study_file(asked: argparse.Namespace, scratch: Path, cores: int) -> dict[str, Any]:
    """A study whose trials all run at the same time."""
    notes = scratch / "notes"
    notes.mkdir(exist_ok=True)
    return {
        "name": "messages",
        "entrypoint": "paced_trial:paced",
        "metric": {"name": "value", "mode": "max"},
        "baseline": {"notes": str(notes), "lanes": asked.lanes, "rate": asked.rate, "quiet_s": asked.quiet},
        "components": {},
        "seeds": asked.lanes,
        "stopping": {"rule": "none", "max": max(1, round(asked.rate * asked.seconds)), "unit": "report"},
        "failures": {"stop_when": "never"},
        "resources": {"max_parallel": asked.lanes, "cpus_per_worker": min(1.0, cores / asked.lanes)},
        "storage": str(scratch / "runs"),
    }


class Onlooker:
    """Looks at the processes of the command, from a thread of its own."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self._seen: dict[int, tuple[str, float]] = {}

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            commands = [pid for pid, parent in _parents() if parent == os.getpid()]
            rss_mb: dict[str, float] = defaultdict(float)
            for session in commands:
                for pid in sessions.members_of(session):
                    self._take(pid, session, rss_mb)
            cpu_s: dict[str, float] = defaultdict(float)
            for kind, used in self._seen.values():  # of those that have ended, too
                cpu_s[kind] += used
            self.looks.append(Look(time.time(), dict(cpu_s), dict(rss_mb)))

    def _take(self, pid: int, command: int, rss_mb: dict[str, float]) -> None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return
        kind = next((kind for begin, kind in KINDS.items() if title.startswith(begin)), OTHERS)
        kind = DRIVER if pid == command else kind
        self._seen[pid] = kind, (int(fields[11]) + int(fields[12])) * TICK_S
        rss_mb[kind] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parents() -> list[tuple[int, int]]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found.append((int(entry.name), int((entry / "stat").read_text().rpartition(")")[2].split()[1])))
        except (OSError, ValueError):
            continue
    return found


def at(looks: Sequence[Look], t: float) -> dict[str, float]:
    """Seconds on the processor at a moment, between two looks in proportion."""
    place = min(max(1, bisect.bisect([look.t for look in looks], t)), len(looks) - 1)
    before, after = looks[place - 1], looks[place]
    share = min(1.0, max(0.0, (t - before.t) / (after.t - before.t)))
    return {
        kind: before.cpu_s.get(kind, 0.0) + share * (used - before.cpu_s.get(kind, 0.0))
        for kind, used in after.cpu_s.items()
    }


def figures(looks: Sequence[Look], notes: Sequence[Mapping[str, float]], reports: int) -> dict[str, Any]:
    """Per kind of process: seconds on the processor of a silent lane-second, and of a report beyond them."""
    lanes = len(notes)
    quiet = max(note["quiet"] for note in notes), min(note["began"] for note in notes)
    busy = max(note["began"] for note in notes), min(note["ended"] for note in notes)
    quiet_s, busy_s = quiet[1] - quiet[0], busy[1] - busy[0]
    rate = reports / (sum(note["ended"] - note["began"] for note in notes) / lanes) / lanes
    idle = _between(looks, *quiet)
    used = _between(looks, *busy)
    kinds = {}
    for kind in used:
        silent = idle.get(kind, 0.0) / quiet_s / lanes
        reporting = used[kind] / busy_s / lanes
        kinds[kind] = {
            "silent_share": silent,
            "reporting_share": reporting,
            "us_per_report": 1e6 * (reporting - silent) / rate,
        }
    path = [kinds.get(kind, {"reporting_share": 0.0}) for kind in (DRIVER, "message actor")]
    return {
        "lanes": lanes,
        "rate": rate,
        "reports": reports,
        "quiet_s": quiet_s,
        "busy_s": busy_s,
        "kinds": kinds,
        "worker_share": kinds.get("worker", {}).get("reporting_share", 0.0),
        "path_share": sum(kind["reporting_share"] for kind in path),
    }


def _between(looks: Sequence[Look], began: float, ended: float) -> dict[str, float]:
    first, last = at(looks, began), at(looks, ended)
    return {kind: last[kind] - first.get(kind, 0.0) for kind in last}


def drawn(found: Mapping[str, Any]) -> str:
    """The table, and what was wanted."""
    lines = [
        f"{describe()}. {found['lanes']} lanes, {found['rate']:.1f} reports a second and lane, "
        f"{found['reports']:,} reports.",
        "",
        "| processes | of a core, per silent lane | of a core, per lane that reports | a report |",
        "| --- | --- | --- | --- |",
    ]
    order = ["worker", "trial actor", "message actor", DRIVER, OTHERS]
    for kind in (kind for kind in order if kind in found["kinds"]):
        row = found["kinds"][kind]
        shares = f"{100 * row['silent_share']:.2f} % | {100 * row['reporting_share']:.2f} %"
        lines.append(f"| {kind} | {shares} | {row['us_per_report']:.0f} µs |")
    rows = (("worker", "worker_share", WORKER_SHARE), ("message actor and driver", "path_share", PATH_SHARE))
    said = []
    for name, key, wanted in rows:
        reached = "reached" if found[key] <= wanted else "NOT reached"
        said.append(f"{name} at most {100 * wanted:g} %, seen {100 * found[key]:.2f} %, {reached}")
    lines += ["", f"Wanted at {WANTED_AT:g} reports a second, per lane: {'; '.join(said)}."]
    return "\n".join(lines) + "\n"


def measured(asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run the study with the real command, and look on."""
    code = scratch / "code"
    code.mkdir()
    shutil.copy(HERE / "paced_trial.py", code)
    study = study_file(asked, scratch, len(os.sched_getaffinity(0)))
    (code / "messages.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    output = scratch / "messages.out"
    words = ["ablate", "--config", str(code / "messages.yaml"), "--no-check"]
    with Onlooker() as onlooker:
        ended = sessions.run(
            [sys.executable, "-c", COMMAND, *words],
            cwd=code,
            scratch=scratch,
            output=output,
            progress=lambda: output.stat().st_size,
            idle_limit_s=IDLE_LIMIT_S + asked.quiet + asked.seconds,
            total_limit_s=2 * START_S + asked.quiet + asked.seconds,
        )
    if ended.code != 0:
        said = output.read_text()[-4000:]
        raise SystemExit(f"the study ended with {ended.code} {ended.hung or ''}:\n{said}")
    notes = [json.loads(file.read_text()) for file in sorted((scratch / "notes").glob("*.json"))]
    return figures(onlooker.looks, notes, len(notes) * int(study["stopping"]["max"]))


def main(words: Sequence[str] | None = None) -> None:
    asked = arguments(words)
    with scratch_folder(asked.keep) as scratch:
        found = measured(asked, scratch)
    table = drawn(found)
    sys.stdout.write(table)
    save(asked.json, messages=found)
    if asked.write:
        write_into_page("messages", table)


if __name__ == "__main__":
    main()
