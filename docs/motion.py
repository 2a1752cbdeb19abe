"""Draw a study in motion, the animated picture in the README.

python docs/motion.py record runs/digits
python docs/motion.py runs/digits docs/images/motion.svg

The second line takes any recorded study. Its journal is replayed: each frame is what `orchestrate watch`
shows when no more than its first lines are there, and the last one is the table of `orchestrate report`. The
first line runs a small study of scanned digits in this process. A worker of it is lost on purpose.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.segment import Segment, Segments
from rich.terminal_theme import MONOKAI
from rich.text import Text

from orchestrator.api.recorded import OpenedStudy, open_study
from orchestrator.api.watching import Watched
from orchestrator.cli.standing import draw as drawn_by_watch
from orchestrator.decide.states import TrialState
from orchestrator.reporting.curves import curve, curve_of
from orchestrator.reporting.plain import duration
from orchestrator.reporting.standing import StudyStanding
from orchestrator.reporting.terminal import render

COLUMNS, LINES = 110, 34
MOST_FRAMES = 12
SHOWN_S, LAST_S = 1.6, 6.0
"""How long a frame is seen, and the last one."""
ORIGIN = "A recorded run, replayed from its journal"
CHAR, LINE_HEIGHT = 12.2, 24.4
"""Size of a character of rich's drawing, which sets 20 px type."""
FRAME = """\
<g class="frame f{unique_id}" aria-label="CAPTION">
<style>{styles}</style><defs>{lines}</defs>
<g class="{unique_id}-matrix">{backgrounds}{matrix}</g>
</g>"""
STUDY: dict[str, Any] = {
    "name": "digits",
    "entrypoint": "motion:train",
    "metric": {"name": "val/accuracy", "mode": "max"},
    "baseline": {"scaled": True, "shifted": True, "momentum": 0.9, "width": 48, "lr": 0.03},
    "components": {
        "scaling": {"without": {"scaled": False}},
        "shifts": {"without": {"shifted": False}},
        "momentum": {"without": {"momentum": 0.0}},
        "hidden": {"swap": {"narrow": {"width": 4}}},
    },
    "seeds": 5,
    "stopping": {"rule": "resolve", "max": 9, "unit": "epoch"},
    "tune": {"samples": 5, "space": {"lr": {"loguniform": [1e-3, 0.3]}}},
}


@dataclass(frozen=True)
class Moment:
    """What is seen at a point of the journal: its first `lines`, `at` seconds after the first of them."""

    lines: int
    at: float
    what: str


def train(config: dict[str, Any]) -> None:
    """Train a small network on scanned digits; it goes on from its checkpoint."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    from orchestrator.engine.inprocess import get_checkpoint, report

    digits = load_digits()
    images, labels = digits.images / (16 if config["scaled"] else 1), digits.target
    order = np.random.default_rng(config["seed"]).permutation(len(labels))
    train_on, validate_on = order[360:], order[:360]
    model, first = MLPClassifier(
        config["width"], solver="sgd", learning_rate_init=config["lr"], momentum=config["momentum"],
        batch_size=32, random_state=config["seed"],
    ), 1  # fmt: skip
    with get_checkpoint() as kept:
        if kept is not None:
            model, first = pickle.loads((kept / "model.pickle").read_bytes())  # noqa: S301 - written below
    for epoch in range(first, int(config["max_length"]) + 1):
        now = images[train_on]
        if config["shifted"]:
            columns = np.random.default_rng([config["seed"], epoch]).integers(-1, 2, len(now))
            now = np.stack([np.roll(image, by, axis=1) for image, by in zip(now, columns, strict=True)])
        model.partial_fit(now.reshape(len(now), -1), labels[train_on], classes=range(10))
        said = model.score(images[validate_on].reshape(len(validate_on), -1), labels[validate_on])
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.pickle").write_bytes(pickle.dumps((model, epoch + 1)))
            report({"epoch": epoch, "val/accuracy": said}, folder)


def record(folder: Path) -> None:
    """Run the study in this process, below `folder`; one worker is lost."""
    from orchestrator.engine.inprocess import Faults, PlantedFault, run_in_process
    from orchestrator.record.storage import Storage
    from orchestrator.record.studyrecord import Start, StudyRecord
    from orchestrator.study.cells import make_plan
    from orchestrator.study.spec import StudySpec

    spec = StudySpec.model_validate({**STUDY, "storage": str(folder.parent), "name": folder.name})
    lost = PlantedFault("worker killed", at=6, arm="no-shifts", seed=1)
    with closing(
        StudyRecord.open(Storage.open(spec.storage), spec, make_plan(spec), Start("0" * 64))
    ) as kept:
        run_in_process(spec, kept, train, slots=2, faults=Faults(lost))


def events_of(study: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal."""
    return [json.loads(line) for line in (study / "journal.jsonl").read_text(encoding="utf-8").splitlines()]


def moments(events: Sequence[dict[str, Any]], names: Mapping[str, str]) -> list[Moment]:
    """Choose what is worth seeing: the first time that something happens, and points evenly between.

    `names`: cell -> what people call the trial.
    """
    chosen: dict[int, str] = {}
    lost: set[str] = set()
    for number, event in enumerate(events, start=1):
        cell = event.get("cell", "")
        told = _happened(event, names.get(cell, ""), cell in lost)
        if told and told[0] not in {what.partition(":")[0] for what in chosen.values()}:
            chosen[number] = ": ".join(told)
        if event["event"] == "failure":
            lost.add(cell)
        elif event["event"] == "checkpoint":
            lost.discard(cell)
    return _filled(events, chosen)


def _happened(event: dict[str, Any], name: str, back: bool) -> tuple[str, ...]:
    """Return what an event is, and of which trial; nothing of most."""
    if event["event"] == "end" and event["state"] == "stopped":
        return "stopped at a rung", name
    if event["event"] == "failure" and event["again"]:
        return "a worker is lost", f"{name} is tried again"
    if event["event"] == "checkpoint" and back:
        return "it goes on from its checkpoint", name
    return ("a first look at the effects",) if event["event"] == "look" else ()


def _filled(events: Sequence[dict[str, Any]], chosen: dict[int, str]) -> list[Moment]:
    """Add points until there are enough; the clock runs from the first report on, to the end."""
    first = next(
        n for n, event in enumerate(events, start=1) if event["event"] in ("checkpoint", "report", "end")
    )
    even = MOST_FRAMES - 1 - len(chosen)
    for step in range(even):
        number = first + (len(events) - first) * step // even
        if all(abs(number - other) > 2 for other in chosen):
            chosen[number] = ""
    chosen.setdefault(len(events), "all trials have ended")
    begin = events[first - 1]["t"]
    return [Moment(number, events[number - 1]["t"] - begin, chosen[number]) for number in sorted(chosen)]


def watched(run: OpenedStudy, events: Sequence[dict[str, Any]], name: str, *, over: bool) -> Watched:
    """Return what `watch` knows after these events; the tables of the trials are whole, and are cut here."""
    found = run.status()
    far = {e["cell"]: (e["length"], e["value"]) for e in events if e["event"] == "checkpoint"}
    cells = tuple(
        replace(cell, length=far[cell.cell][0], value=far[cell.cell][1])
        if cell.state is TrialState.RUNNING and cell.cell in far
        else cell
        for cell in found.cells
    )
    found = replace(found, cells=cells, root=f"runs/{name}", driver=None if over else "this machine", gone=())
    return Watched(found, tuple(_curves(run, found)), run.report(curves=False, new_data=False))


def _curves(run: OpenedStudy, found: StudyStanding) -> Iterator[Any]:
    by_arm: dict[str, list[Any]] = {}
    last = found.cells[-1].phase if found.cells else ""
    for cell in found.cells:
        if cell.begun and cell.sample is None and cell.phase == last and cell.length is not None:
            points = curve_of(run.storage, run.trial_paths(cell), found.metric, found.unit)
            by_arm.setdefault(cell.arm, []).append({x: y for x, y in points.items() if x <= cell.length})
    return (curve(arm, runs) for arm, runs in by_arm.items() if any(runs))


def replayed(study: Path) -> Iterator[tuple[str, Any]]:
    """Yield the frames: a line that says what is seen, and what rich draws of it."""
    events = events_of(study)
    lines = (study / "journal.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    names = {cell.cell: cell.name for cell in open_study(str(study), str(study.parent)).status().cells}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / study.name
        shutil.copytree(study, copy, ignore=shutil.ignore_patterns("control", "figures", "checkpoints"))
        for moment in moments(events, names):
            (copy / "journal.jsonl").write_text("".join(lines[: moment.lines]), encoding="utf-8")
            over = moment.lines == len(lines)
            seen = watched(open_study(str(copy), place), events[: moment.lines], study.name, over=over)
            said = f"{duration(moment.at)}{f': {moment.what}' if moment.what else ''}"
            yield f"$ orchestrate watch {study.name}   # {said}", drawn_by_watch(seen, COLUMNS, LINES - 2)
        report = open_study(str(copy), place).report(curves=False)
        shown = render(replace(report, location=f"runs/{study.name}", is_local=False))
        yield f"$ orchestrate report {study.name}", shown


def frame(number: int, caption: str, shown: Any) -> str:
    """Return a frame as a group; what does not fit is left out, as on a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    lines = console.render_lines(shown, pad=False)
    cut = lines if len(lines) <= LINES - 2 else [*lines[: LINES - 3], [Segment("…")]]
    console.print(Text(caption, style="bold"), Text(""), sep="\n")
    console.print(Segments([one for line in cut for one in (*line, Segment.line())]), end="")
    layout = FRAME.replace("CAPTION", escape(caption, quote=True).replace("{", "{{").replace("}", "}}"))
    return console.export_svg(title="", theme=MONOKAI, code_format=layout, unique_id=f"m{number}")


def animated(frames: Sequence[str]) -> str:
    """Return the whole picture: frames in turn, by CSS alone; who wants no motion sees the last one."""
    width, height = COLUMNS * CHAR + 34, LINES * LINE_HEIGHT + 60
    whole = SHOWN_S * (len(frames) - 1) + LAST_S
    rules = []
    for number in range(len(frames)):
        start = 100 * SHOWN_S * number / whole
        end = 100.0 if number == len(frames) - 1 else 100 * SHOWN_S * (number + 1) / whole
        steps = [(0.0, "hidden")] * (start > 0) + [(start, "visible")] + [(end, "hidden")] * (end < 100)
        keys = " ".join(f"{at:.3f}% {{visibility: {what}}}" for at, what in steps)
        rules.append(f"@keyframes k{number} {{{keys}}}")
        rules.append(f".fm{number} {{animation: k{number} {whole:g}s step-end infinite}}")
    matrices = ", ".join(f".m{number}-matrix" for number in range(len(frames)))
    return "\n".join(
        [
            "<!-- drawn by docs/motion.py -->",
            f'<svg viewBox="0 0 {width:g} {height:g}" xmlns="http://www.w3.org/2000/svg" role="img">',
            f"<title>A study in motion: {ORIGIN}</title>",
            "<style>",
            f"{matrices} {{font: 20px ui-monospace, Menlo, Consolas, monospace}}",
            ".frame {visibility: hidden} .frame:last-of-type {visibility: visible}",
            *rules,
            "@media (prefers-reduced-motion: reduce) {.frame {animation: none}}",
            "</style>",
            f'<rect width="{width - 2:g}" height="{height - 2:g}" x="1" y="1" rx="8"',
            'fill="#292929" stroke="#777"/>',
            '<g transform="translate(17, 20)">',
            *frames,
            "</g>",
            f'<text x="17" y="{height - 18:g}" fill="#a0a0a0" font-family="sans-serif" font-size="18">',
            f"{ORIGIN}</text>",
            "</svg>",
        ]
    )


def main(first: str, second: str) -> None:
    """Record a study, or draw one."""
    if first == "record":
        record(Path(second))
    else:
        frames = [frame(number, *one) for number, one in enumerate(replayed(Path(first)))]
        Path(second).write_text(f"{animated(frames)}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
