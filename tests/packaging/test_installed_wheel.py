"""The wheel in an environment of its own, far from the checkout: from `init` to the report of a study."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from released import ROOT, Release

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

Orchestrate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def orchestrate(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Orchestrate:
    """The command that the wheel installs. What it depends on is seen, not installed again: minutes saved."""
    place = tmp_path_factory.mktemp("installed")
    environment, work = place / "env", place / "work"
    work.mkdir()
    venv.create(environment, with_pip=False, symlinks=True)
    [packages] = environment.glob("lib/python*/site-packages")
    others = [*site.getsitepackages(), *(path for path in sys.path if path.endswith("site-packages"))]
    lines = [path for path in dict.fromkeys(others) if not (Path(path) / "orchestrator").exists()]
    (packages / "others.pth").write_text("\n".join(lines) + "\n")
    # a Ray that tests share names the checkout in PYTHONPATH: pip would find it installed there already
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    install = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", "--quiet"]
    words = [*install, "--no-deps", "--no-index", release.wheel]
    subprocess.run(words, check=True, capture_output=True, env=clean)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment / "bin" / "orchestrate", *words], cwd=work, env=clean, capture_output=True, text=True
        )

    return run


@pytest.fixture(scope="module")
def study(orchestrate: Orchestrate) -> str:
    assert orchestrate("init", "my-study").returncode == 0
    return "my-study/study.yaml"


def test_the_checkout_is_not_seen(orchestrate: Orchestrate) -> None:
    said = orchestrate("plan", "--config", str(ROOT / "configs" / "digits.yaml"))
    assert said.returncode == 2
    assert "there is no module 'trials.digits'" in said.stderr


def test_a_new_study_passes_its_check(orchestrate: Orchestrate, study: str) -> None:
    said = orchestrate("check", "--config", study, "--json")
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_new_study_runs_to_its_report(orchestrate: Orchestrate, study: str) -> None:
    ran = orchestrate("ablate", "--config", study, "seeds=2", "stopping.rule=none", "stopping.max=2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = orchestrate("report", "runs/my-study", "--json")
    assert report.returncode == 0, report.stderr
    effects = json.loads(report.stdout)
    assert {"no-batchnorm", "no-jitter"} <= {effect["arm"] for effect in effects["effects"]}
