"""slurm.sh: its text, and a job that meets its time limit, is put back into the queue and goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from .files import CLUSTERS

SCRIPT = CLUSTERS / "slurm.sh"
EPOCHS = 60


def test_the_script_is_well_formed() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if checker is None:
        pytest.skip("shellcheck is missing")
    subprocess.run([checker, str(SCRIPT)], check=True)


def test_slurm_is_asked_for_a_signal_before_the_limit_and_may_requeue() -> None:
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --signal=B:USR1@120" in asked
    assert {"#SBATCH --requeue", "#SBATCH --no-kill", "#SBATCH --open-mode=append"} <= set(asked)


def _why_not() -> str | None:
    missing = [name for name in ("unshare", "ip", "ps", "pgrep") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing"
    return None if os.geteuid() == 0 else "namespaces need root"


@pytest.mark.cluster
@pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))
def test_a_job_goes_on_after_its_time_limit(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    inside = ["unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child=SIGKILL", sys.executable]
    words = [*inside, str(Path(__file__).parent / "slurm_run.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=540, check=False)
    log = (tmp_path / "slurm.log").read_text()
    assert done.returncode == 0, done.stderr + log
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])

    offers = sorted((node["CPU"], node["GPU"]) for node in seen["nodes"])
    assert offers == [(0, 0), (1, 1), (1, 1)]  # the head, and two workers with the GPUs of SLURM
    assert seen["first_exit"] == 0
    assert "scontrol requeue 4711" in seen["asked"]
    assert seen["second_exit"] == 0, log
    assert seen["left_after_first"] == seen["left_after_second"] == seen["scratch"] == []
    assert (tmp_path / "home" / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    assert (tmp_path / "home" / ".ray" / "auth_token").read_text() not in log

    study = tmp_path / "runs" / "plain-ray"
    cells = pq.read_table(study / "results.parquet").to_pylist()
    assert [cell["state"] for cell in cells] == ["done"] * 4
    assert max(cell["attempts"] for cell in cells) == 2  # the one that the limit met
    for cell in cells:
        epochs = pq.read_table(study / cell["trial_dir"] / "metrics.parquet")["epoch"].to_pylist()
        assert epochs == list(range(1, EPOCHS + 1))
