"""The parts of `gpu.py`: each takes a setting and returns figures, and `told`, what did not go well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import page
import sessions
import yaml

HERE = Path(__file__).resolve().parent
LANES = (1, 2, 4, 8)
WAYS = ("ours", "plain", "lightning")
TRIALS = 50
ENOUGH_S = 5.0
"""With less of a part's time left nothing more is begun."""


@dataclass(frozen=True)
class Setting:
    """Where a part runs; `until`: when it has to be over (monotonic). `tiny`: small, and in this process."""

    device: str
    tiny: bool
    scratch: Path
    until: float

    @property
    def left_s(self) -> float:
        """What is left of the part's time."""
        return self.until - time.monotonic()

    def size(self, whole: int, tiny: int) -> int:
        """One of the two."""
        return tiny if self.tiny else whole


# --- studies -------------------------------------------------------------------------------------------


def study_file(
    name: str, setting: Setting, *, levels: int, seeds: int, epochs: int, lanes: int, held: int, rule: str
) -> dict[str, Any]:
    """A study of `gpu_trial`: the baseline at level 0, an arm at each level below it."""
    cores = len(os.sched_getaffinity(0))
    tiny = setting.tiny
    return {
        "name": name,
        "entrypoint": "gpu_trial:Stamped",
        "metric": {"name": "val/level", "mode": "max"},
        "baseline": {
            "data": {
                "samples": setting.size(2048, 40),
                "context": setting.size(64, 8),
                "batch_size": setting.size(32, 8),
                "level": 0.0,
                "stamps": str(setting.scratch / f"{name}.jsonl"),
            },
            "model": {"width": setting.size(256, 16), "layers": setting.size(4, 1), "held": held},
            "train": {"precision": "bf16", "val_batch_every": 0},
        },
        "components": {
            f"level{level}": {"swap": {"down": {"data.level": -float(level)}}} for level in range(1, levels)
        },
        "seeds": seeds,
        "stopping": {"rule": rule, "max": epochs, "unit": "epoch"},
        "checkpoint": {"every": epochs},
        "monitor": [],
        "resources": {
            "max_parallel": lanes,
            "cpus_per_worker": min(1.0, cores / lanes),
            "gpus_per_worker": 0 if setting.device == "cpu" or tiny else 1 / lanes,
        },
        "storage": str(setting.scratch / "runs"),
    }


def ran(study: Mapping[str, Any], setting: Setting) -> tuple[list[dict[str, Any]], str | None]:
    """Run a study; return what its trials wrote down, in time's order, and what went wrong."""
    code = setting.scratch / "code"
    code.mkdir(exist_ok=True)
    shutil.copy(HERE / "gpu_trial.py", code)
    file = code / f"{study['name']}.yaml"
    file.write_text(yaml.safe_dump(dict(study), sort_keys=False), encoding="utf-8")
    if setting.tiny:
        told = _in_this_process(file, code)
    elif setting.left_s < ENOUGH_S:
        told = f"{study['name']}: no time was left for it"
    else:
        told = _as_a_command(file, code, setting)
    stamps = Path(study["baseline"]["data"]["stamps"])
    lines = stamps.read_text(encoding="utf-8").splitlines() if stamps.exists() else []
    return sorted(map(json.loads, lines), key=lambda line: line["t"]), told


def _as_a_command(file: Path, code: Path, setting: Setting) -> str | None:
    output = file.with_suffix(".out")
    ended = sessions.run(
        [*sessions.ABLATE, str(file), "--no-check"],
        cwd=code,
        scratch=setting.scratch,
        output=output,
        idle_limit_s=setting.left_s,
        total_limit_s=setting.left_s,
    )
    if ended.code == 0:
        return None
    tail = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"{file.stem}: {ended.hung or f'exit code {ended.code}'}: {' '.join(tail)}"


def _in_this_process(file: Path, code: Path) -> str | None:
    from orchestrator.engine.inprocess import run_in_process
    from orchestrator.record.storage import Storage
    from orchestrator.record.studyrecord import Start, StudyRecord
    from orchestrator.study.cells import make_plan
    from orchestrator.study.loading import load_study

    spec = load_study(file).spec
    storage, begin = Storage.open(spec.storage), Start("0" * 64)
    with closing(StudyRecord.open(storage, spec, make_plan(spec), begin)) as record:
        outcome = run_in_process(spec, record, code_root=code, slots=int(spec.resources.max_parallel))
    return None if outcome.exit_code == 0 else f"{spec.name}: exit code {outcome.exit_code:d}"


def of(stamps: Sequence[Mapping[str, Any]], event: str) -> list[Mapping[str, Any]]:
    """The stamps of one kind."""
    return [line for line in stamps if line["event"] == event]


# --- packing -------------------------------------------------------------------------------------------


def packing(setting: Setting) -> dict[str, Any]:
    """The same sixteen trials on 1, 2, 4 and 8 lanes of one GPU."""
    rows, told = [], []
    for lanes in LANES[: setting.size(len(LANES), 2)]:
        study = study_file(
            f"packing-{lanes}",
            setting,
            levels=setting.size(4, 2),
            seeds=setting.size(4, 2),
            epochs=setting.size(12, 1),
            lanes=lanes,
            held=0,
            rule="none",
        )
        stamps, wrong = ran(study, setting)
        told += [wrong] if wrong else []
        if wrong is None:
            memory = max((line["gpu_mib"] for line in stamps if "gpu_mib" in line), default=None)
            rate = busy_rate(epochs_of(stamps, validated_samples(study)), lanes, trained_samples(study))
            rows.append({"lanes": lanes, "share": 1 / lanes, "samples_per_s": rate, "gpu_mib": memory})
    return {"rows": rows, "told": told}


def trained_samples(study: Mapping[str, Any]) -> int:
    """How many are trained on in an epoch."""
    data = study["baseline"]["data"]
    return int((data["samples"] - validated_samples(study)) // data["batch_size"] * data["batch_size"])


def epochs_of(stamps: Sequence[Mapping[str, Any]], validated: int) -> list[list[float]]:
    """Of every trial when it first stepped and when each of its epochs was over, its validation included."""
    found: dict[str, list[float]] = {line["trial"]: [line["t"]] for line in of(stamps, "stepped")}
    seen = dict.fromkeys(found, 0)
    for line in of(stamps, "validated"):
        seen[line["trial"]] += line["samples"]
        if seen[line["trial"]] % validated == 0:
            found[line["trial"]].append(line["t"])
    return list(found.values())


def busy_rate(trials: Sequence[Sequence[float]], lanes: int, samples: int) -> float | None:
    """Samples a second of all lanes together, while all of them have a trial; None where they never had.

    What lies between two trials of a lane is in that time; that lanes begin one after the other is not.
    """
    if len(trials) < lanes:
        return None
    begin = sorted(trial[0] for trial in trials)[lanes - 1]
    end = sorted(trial[-1] for trial in trials)[-lanes]
    if end <= begin:
        return None
    inside = sum(
        max(0.0, min(over, end) - max(start, begin)) / (over - start)
        for trial in trials
        for start, over in pairwise(trial)
    )
    return inside * samples / (end - begin)


def _packing(found: Mapping[str, Any]) -> str:
    alone = next((row["samples_per_s"] for row in found["rows"] if row["lanes"] == 1), None)
    rows = [
        [
            f"{row['lanes']} {'lane' if row['lanes'] == 1 else 'lanes'}",
            f"{row['share']:.3g}",
            "–" if row["samples_per_s"] is None else f"{row['samples_per_s']:,.0f}",
            "–" if None in (alone, row["samples_per_s"]) else f"{row['samples_per_s'] / alone:.2f}×",
            mib(row["gpu_mib"]),
        ]
        for row in found["rows"]
    ]
    head = [
        "packing",
        "GPU of each trial",
        "samples a second, all lanes",
        "one by one",
        "GPU memory, at most",
    ]
    return page.table(head, rows)


# --- loops ---------------------------------------------------------------------------------------------


def loop(setting: Setting) -> dict[str, Any]:
    """Three loops over one network in bf16, each with and without `torch.compile`, in a process each."""
    rows, told = [], []
    for compiled in (False,) if setting.tiny else (False, True):
        for way in WAYS:
            words = [sys.executable, str(HERE / "gpu_loops.py"), way, "compiled" if compiled else "plain"]
            words += [setting.device, "tiny" if setting.tiny else "whole"]
            what = f"{way}{', compiled' if compiled else ''}"
            if setting.left_s < ENOUGH_S:
                told.append(f"{what}: no time was left for it")
                continue
            try:
                done = subprocess.run(
                    words, capture_output=True, text=True, check=False, timeout=setting.left_s
                )
            except subprocess.TimeoutExpired:
                told.append(f"{what}: not over in time")
                continue
            if done.returncode != 0:
                last = done.stderr.strip().splitlines()[-1:]
                told.append(f"{what}: exit code {done.returncode}: {' '.join(last)}")
                continue
            rows.append({"way": way, "compiled": compiled, **json.loads(done.stdout.splitlines()[-1])})
    return {"rows": rows, "told": told}


def _loop(found: Mapping[str, Any]) -> str:
    ours = {row["compiled"]: row["samples_per_s"] for row in found["rows"] if row["way"] == "ours"}
    rows = []
    for row in found["rows"]:
        mine = None if row["way"] == "ours" else ours.get(row["compiled"])
        over = "–" if mine is None else f"{mine / row['samples_per_s']:.3f}"
        name = f"{row['way']}{', `torch.compile`' if row['compiled'] else ''}"
        rows.append([name, f"{row['samples_per_s']:,.0f}", over, f"{row['first_step_s']:.1f} s"])
    return page.table(["loop, bf16", "samples a second", "ours over that", "start to first step"], rows)


# --- stops and what is left ----------------------------------------------------------------------------


def stop(setting: Setting) -> dict[str, Any]:
    """Trials that hold memory and are stopped at their first rung, one after the other on one lane."""
    levels, epochs = setting.size(10, 3), setting.size(4, 3)
    held = setting.size(4096, 1)
    study = study_file(
        "stop", setting, levels=levels, seeds=2, epochs=epochs, lanes=1, held=held, rule="asha"
    )
    stamps, told = ran(study, setting)
    return {
        "rows": turnarounds(stamps, epochs * validated_samples(study)),
        "held_mib": held,
        "told": [told] if told else [],
    }


def validated_samples(study: Mapping[str, Any]) -> int:
    """How many the validation of an epoch has."""
    samples = study["baseline"]["data"]["samples"]
    return int(samples - samples * 9 // 10)


def turnarounds(stamps: Sequence[Mapping[str, Any]], whole: int) -> list[dict[str, Any]]:
    """From each stop to the next trial on the lane: to its begin, to its first step, and what was held then.

    `whole`: samples that a trial which is not stopped validates in all.
    """
    begun = [place for place, line in enumerate(stamps) if line["event"] == "began"]
    trials = [stamps[first:last] for first, last in zip(begun, [*begun[1:], None], strict=False)]
    rows = []
    for before, after in pairwise(trials):
        seen, stepped = of(before, "validated"), of(after, "stepped")
        if not seen or not stepped or sum(line["samples"] for line in seen) >= whole:
            continue
        rows.append(
            {
                "begins_s": after[0]["t"] - seen[-1]["t"],
                "steps_s": stepped[0]["t"] - seen[-1]["t"],
                "tensors_mib": after[0].get("tensors_mib"),
                "gpu_mib": after[0].get("gpu_mib"),
                "gpu_mib_before": seen[-1].get("gpu_mib"),
            }
        )
    return rows


def _stop(found: Mapping[str, Any]) -> str:
    rows = found["rows"]
    if not rows:
        return "No trial was stopped.\n"

    def of_all(name: str, show: Callable[[float | None], str]) -> list[str]:
        seen = [row[name] for row in rows if row[name] is not None]
        return [show(median(seen)), show(max(seen))] if seen else ["–", "–"]

    lines = [
        ["next trial begins, memory is free", *of_all("begins_s", ms)],
        ["next trial's first step", *of_all("steps_s", ms)],
        ["GPU memory taken before the stop", *of_all("gpu_mib_before", mib)],
        ["GPU memory taken when the next one begins", *of_all("gpu_mib", mib)],
        ["of it, tensors of the lane", *of_all("tensors_mib", mib)],
    ]
    head = [f"after a stop ({len(rows)}; each held {mib(found['held_mib'])})", "median", "max"]
    return page.table(head, lines)


def left(setting: Setting) -> dict[str, Any]:
    """Memory of a lane when its second trial begins, and when its last one does."""
    levels, seeds = setting.size(5, 3), setting.size(TRIALS // 5, 2)
    held = setting.size(256, 1)
    study = study_file("left", setting, levels=levels, seeds=seeds, epochs=1, lanes=1, held=held, rule="none")
    stamps, told = ran(study, setting)
    return {**growth(of(stamps, "began")), "told": [told] if told else []}


def growth(began: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Trials, processes, and every kind of memory at the second and the last trial's beginning."""
    found: dict[str, Any] = {"trials": len(began), "processes": len({line["pid"] for line in began})}
    if len(began) > 1:
        kinds = [name for name in ("resident_mib", "tensors_mib", "kept_mib", "gpu_mib") if name in began[1]]
        found["memory"] = {name: [began[1][name], began[-1][name]] for name in kinds}
    return found


def _left(found: Mapping[str, Any]) -> str:
    names = {
        "resident_mib": "resident",
        "tensors_mib": "GPU, tensors",
        "kept_mib": "GPU, kept by torch",
        "gpu_mib": "GPU, all that is taken",
    }
    between = max(1, found["trials"] - 2)
    rows = [
        [names[name], mib(first), mib(last), f"{(last - first) / between:+.2f} MiB"]
        for name, (first, last) in found.get("memory", {}).items()
    ]
    head = [
        f"memory of a lane ({found['trials']} trials, {found['processes']} process)",
        *("at the 2nd", "at the last", "a trial"),
    ]
    return page.table(head, rows)


def mib(size: float | None) -> str:
    """As text."""
    return "–" if size is None else f"{size:,.0f} MiB"


def ms(seconds: float | None) -> str:
    """As text."""
    return "–" if seconds is None else f"{1000 * seconds:,.0f} ms"


DRAWN: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "packing": _packing,
    "loop": _loop,
    "stop": _stop,
    "left": _left,
}
