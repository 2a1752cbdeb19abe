"""Run example studies by their own commands, one after the other, and keep how long each took.

python docs/examples/measure.py runs tabular charlm      into runs/tabular, runs/charlm; without names: all

The seconds, what the report says of the planted arms, the load before and the number of processors go to
docs/examples/times.json, from which fill.py makes the table of README.md. cifar-small reads the stand-in
that tests/trials/cifarlike.py draws. A study whose directory is there already is refused: name an empty
place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMES = Path(__file__).with_name("times.json")
PLANTED = {
    "tabular": ("targets=shuffled", "columns=reversed"),
    "charlm": ("text=typos", "numbering=descending"),
    "segment": ("masks=shifted", "numbering=descending"),
    "generator": ("code=one", "mirror=mirrored"),
    "cifar-small": ("labels=wrong", "channels=bgr"),
    "digits-planted": ("labels=wrong", "numbering=descending"),
}
"""Study -> the arm that must hurt, the arm that does nothing."""


def run(study: str, storage: Path) -> dict[str, object]:
    """Wall time of `orchestrate ablate`, from its start to its exit, s.

    Raises:
        FileExistsError: the study has been run there.
        CalledProcessError: it did not end with every cell answered.
    """
    if (storage / study).exists():
        raise FileExistsError(f"{storage / study} is there already; name an empty place for the runs")
    words = ["ablate", "--config", f"configs/{study}.yaml", f"storage={storage}"]
    if study == "cifar-small":
        archive = storage / "stand-in.tar.gz"
        subprocess.run([sys.executable, "tests/trials/cifarlike.py", str(archive)], cwd=ROOT, check=True)
        words.append(f"baseline.data.path={archive}")
    load, began_s = os.getloadavg()[0], time.perf_counter()
    subprocess.run([sys.executable, "-m", "orchestrator", *words], cwd=ROOT, check=True)
    wall_s = time.perf_counter() - began_s
    return {
        **planted(study, storage / study),
        "wall_s": round(wall_s, 1),
        "load_before": round(load, 1),
        "cpus": len(os.sched_getaffinity(0)),
        "date": time.strftime("%Y-%m-%d"),
    }


def planted(study: str, run_dir: Path) -> dict[str, list[str]]:
    """`hurt` and `nothing`: arm and verdict of each planted arm in `effects.json`."""
    effects = json.loads((run_dir / "effects.json").read_text(encoding="utf-8"))["effects"]
    verdicts = {effect["arm"]: effect["verdict"] for effect in effects}
    arms = zip(("hurt", "nothing"), PLANTED[study], strict=True)
    return {role: [arm, verdicts[arm]] for role, arm in arms}


def main(place: str, studies: list[str]) -> None:
    """Run them and keep the times after each."""
    storage = Path(place).resolve()
    storage.mkdir(parents=True, exist_ok=True)
    for study in studies or PLANTED:
        measured = run(study, storage)
        kept = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
        text = json.dumps({**kept, study: measured}, indent=2, sort_keys=True)
        TIMES.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
