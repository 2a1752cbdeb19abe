"""slurm.sh: its text, and a job that meets its time limit, is put back into the queue and goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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


RAY = """#!/usr/bin/env bash
echo Ray runtime started
exec tail -f /dev/null
"""
WAITS = """#!/usr/bin/env bash
trap 'exit 143' TERM
echo "$@" > "$SAID"
while :; do sleep 0.05; done
"""


def _job(tmp_path: Path, study: str, restarts: int = 0) -> subprocess.Popen[bytes]:
    """slurm.sh with stand-ins for Ray and the study as well: only its own steps are real."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in (("ray", RAY), ("python", "#!/bin/sh\ncat >/dev/null\n"), ("orchestrate", study)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "srun").write_text(
        '#!/bin/sh\ncase "$*" in *" rm "*) exit 0;; esac; exec tail -f /dev/null\n'
    )
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "asked"}\n')
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    environment = dict(
        os.environ,
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        HOME=str(tmp_path),
        ORCHESTRATE_VENV=str(tmp_path / "venv"),
        SAID=str(tmp_path / "said"),
        RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"),
        SLURM_JOB_ID="12",
        SLURM_JOB_NUM_NODES="2",
        SLURM_RESTART_COUNT=str(restarts),
        STOP_S="60",
    )
    (tmp_path / "token").write_text("made by python, which is a stand-in here")
    with (tmp_path / "log").open("w") as log:
        words = ["bash", str(SCRIPT), "study.yaml", "seeds=3"]
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log)


def _started(tmp_path: Path) -> None:
    deadline = time.monotonic() + 30
    while not (tmp_path / "said").exists():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_study_that_ends_by_itself_ends_the_job_with_its_code(tmp_path: Path, code: int) -> None:
    job = _job(tmp_path, f'#!/bin/sh\necho "$@" > "$SAID"\nexit {code}\n')
    assert job.wait(30) == code
    assert "--config study.yaml seeds=3" in (tmp_path / "said").read_text()
    assert not (tmp_path / "asked").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "restarts", "requeued"),
    [(signal.SIGUSR1, 0, True), (signal.SIGUSR1, 100, False), (signal.SIGTERM, 0, False)],
)
def test_only_the_time_limit_puts_it_back_and_not_for_ever(
    tmp_path: Path, sent: signal.Signals, restarts: int, requeued: bool
) -> None:
    job = _job(tmp_path, WAITS, restarts)
    _started(tmp_path)
    job.send_signal(sent)
    assert job.wait(30) == (0 if requeued else 143)
    assert (tmp_path / "asked").exists() == requeued


def _why_not() -> str | None:
    missing = [name for name in ("unshare", "ip", "ps", "pgrep") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing"
    return None if os.geteuid() == 0 else "namespaces need root"


@pytest.mark.cluster
@pytest.mark.long
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
