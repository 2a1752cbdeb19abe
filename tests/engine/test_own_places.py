"""Two trials at the same time that write one relative path, and one absolute path, on real workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: saving
entrypoint: saving:train
metric: {{name: loss, mode: min}}
stopping: {{max: 2, unit: epoch}}
baseline: {{level: 1.0, dir: '{dir}', elsewhere: {elsewhere}, together: 2}}
components: {{level: {{swap: {{two: {{level: 2.0}}}}}}}}
seeds: [0]
"""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["relative", "absolute"])
def test_two_trials_that_save_under_one_name(
    shared_bench: Callable[[str, str], Bench], tmp_path: Path, elsewhere: bool
) -> None:
    study = shared_bench("saving", STUDY.format(dir=tmp_path, elsewhere=str(elsewhere).lower()))
    (study.code / "data.txt").write_text("10")
    (study.code / "out").mkdir(exist_ok=True)
    (study.code / "out" / "best.pt").write_text("of a run by hand")
    finished = study.run()
    assert finished.code == 0, finished.err
    assert [row["loss"] for row in study.rows("baseline")] == [11, 12]
    assert [row["loss"] for row in study.rows("level=two")] == [21, 22]
    assert (study.code / "out" / "best.pt").read_text() == "of a run by hand"
    kept = study.trial_file("level=two", 0, "files/out/best.pt")
    assert torch.load(kept) == {"value": 22.0}
    effects = json.loads(study.storage.read_bytes(study.paths.effects_json))
    said = f"{tmp_path / 'best.pt'} was written by baseline seed 0 and level=two seed 0"
    status = study.call("status", study.paths.root, "--storage", str(study.storage_root)).out
    for text in (finished.err, status, str(effects["notes"])):
        assert (said in text) is elsewhere
    assert ("doubtful" in effects["effects"][0]["flags"]) is elsewhere
    assert bool(effects["shared"]) is elsewhere
