"""Run the digits study under every goal and as the whole grid, and put what they say side by side.

python docs/goals.py runs      into runs/digits-grid, runs/digits-save, ...; about ten minutes on two CPUs

The figures are kept in goals.json, and the table of docs/statistics.md is made of them. A study that is
there already is finished, not begun anew; without a place the table is written from what is kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyarrow.parquet import read_table

from orchestrator.simulate.methods import METHODS
from orchestrator.stats.results import HELPS, HURTS, SCREENED, UNRESOLVED

ROOT = Path(__file__).parents[1]
PAGE, RECORD = Path(__file__).with_name("statistics.md"), Path(__file__).with_name("goals.json")
CONFIG = "configs/digits-planted.yaml"
GRID = "grid"
STUDIES = {
    GRID: ["stopping.rule=none"],
    **{name: [f"stopping.goal={name}"] for name in ("save", "screen", "reinvest")},
}
"""The grid is what the others are measured by; each with what it changes in the study file."""


def run(name: str, storage: Path) -> dict[str, Any]:
    """Run one study to its end; return its runs and what it says of every arm.

    Raises:
        CalledProcessError: it did not end with every cell answered.
    """
    words = ["ablate", "--config", CONFIG, f"storage={storage}", f"name=digits-{name}", *STUDIES[name]]
    subprocess.run([sys.executable, "-m", "orchestrator", *words], cwd=ROOT, check=True)
    place = storage / f"digits-{name}"
    said = json.loads((place / "effects.json").read_text(encoding="utf-8"))
    cells = read_table(place / "results.parquet").to_pylist()
    return {
        "runs": sum(cell["state"] != "skipped" for cell in cells),
        "length": said["cost"]["spent"],
        "grid_length": said["cost"]["grid"],
        "effects": {e["arm"]: {key: e[key] for key in ("verdict", "delta", "n")} for e in said["effects"]},
        "values": {f"{c['arm']} {c['seed']}": c["value"] for c in cells if c["state"] == "done"},
    }


def measure(storage: Path) -> dict[str, Any]:
    """Run all of them; `shared`: runs that several have made, `unlike`: those whose values differ."""
    found = {name: run(name, storage) for name in STUDIES}
    values = defaultdict(list)
    for study in found.values():
        for cell, value in study.pop("values").items():
            values[cell].append(value)
    shared = [several for several in values.values() if len(several) > 1]
    unlike = sum(len(set(several)) > 1 for several in shared)
    return {"studies": found, "shared": len(shared), "unlike": unlike}


def table(found: Mapping[str, Any]) -> str:
    """Draw verdicts and runs, and how far each study says what the grid says, as Markdown."""
    studies = found["studies"]
    titles = ["full grid", *(METHODS[name].title for name in studies if name != GRID)]
    lines = [["arm", *titles], ["---", *["---"] * len(titles)]]
    for arm in studies[GRID]["effects"]:
        lines += [[f"`{arm}`", *(_said(study["effects"][arm]) for study in studies.values())]]
    lines.append(["**runs**", *(str(study["runs"]) for study in studies.values())])
    share = (f"{study['length'] / study['grid_length']:.2f}" for study in studies.values())
    lines.append(["of the grid's length", *share])
    lines.append(["the grid's verdict", *(_agreement(study, studies[GRID]) for study in studies.values())])
    drawn = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{drawn}\n{_values(found)}\n"


def _said(effect: Mapping[str, Any]) -> str:
    if effect["delta"] is None:
        return str(effect["verdict"])
    size = f"{100 * effect['delta']:+.1f}".replace("-", "−")
    return f"{effect['verdict']} ({size} pp, n = {effect['n']})"


def _agreement(study: Mapping[str, Any], grid: Mapping[str, Any]) -> str:
    """Count the arms with the grid's verdict: an arm that was screened out is an open one."""
    pairs = [
        {UNRESOLVED if one["effects"][arm]["verdict"] == SCREENED else one["effects"][arm]["verdict"]
         for one in (study, grid)}
        for arm in grid["effects"]
    ]  # fmt: skip
    opposite = sum(pair == {HURTS, HELPS} for pair in pairs)
    return f"{sum(len(pair) == 1 for pair in pairs)} of {len(pairs)}, {opposite} opposite"


def _values(found: Mapping[str, Any]) -> str:
    shared, unlike = found["shared"], found["unlike"]
    said = "the same value in each" if not unlike else f"the same value in each but for {unlike}"
    return f"{shared} runs were made by several of these studies, with {said}."


def main() -> None:
    """Measure if a place is given, and rewrite the table."""
    if len(sys.argv) > 1:
        storage = Path(sys.argv[1]).resolve()
        storage.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(measure(storage), indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, mark, rest = page.partition("<!-- goals -->\n")
    drawn = table(json.loads(RECORD.read_text(encoding="utf-8")))
    PAGE.write_text(before + mark + drawn + rest[rest.index("<!-- end -->") :], encoding="utf-8")


if __name__ == "__main__":
    main()
