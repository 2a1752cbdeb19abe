"""A study of one's own: the files fit together before anything is changed in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from workbench import in_process

from orchestrator.cli.init import package_name
from orchestrator.errors import InputError
from orchestrator.record.layout import TrialPaths
from orchestrator.record.metrictable import OBSERVATIONS, read_table
from orchestrator.record.storage import Storage


@pytest.fixture
def own_study(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert command("init", "my-study").code == 0
    return tmp_path / "my-study"


def test_files_are_in_the_order_of_the_work(own_study: Path) -> None:
    files = {path.relative_to(own_study).as_posix() for path in own_study.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "study.yaml",
        "my_study/__init__.py",
        "my_study/data.py",
        "my_study/model.py",
        "my_study/training.py",
        "tests/test_overfit.py",
    }
    assert not any("{{" in (own_study / name).read_text() for name in files)


@pytest.mark.parametrize("from_within", [True, False])
def test_the_study_validates(
    command, own_study: Path, monkeypatch: pytest.MonkeyPatch, from_within: bool
) -> None:
    if from_within:
        monkeypatch.chdir(own_study)
    config = "study.yaml" if from_within else own_study / "study.yaml"
    result = command("validate", "--config", config)
    assert result.code == 0, result.err
    assert "5 arms × at most 5 seeds = at most 25 trials of 10 epochs" in result.out


@pytest.mark.long
@pytest.mark.slow
def test_ten_samples_are_learnt_by_heart(own_study: Path) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(words, cwd=own_study, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
@pytest.mark.slow
def test_every_gate_of_check_passes(command, own_study: Path) -> None:
    result = command("check", "--config", own_study / "study.yaml")
    assert result.code == 0, result.out
    assert "13 passed, 0 failed, 0 skipped" in result.out


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_a_tiny_ablate_of_the_files_as_they_are(own_study: Path, shared_ray: str) -> None:
    words = ["ablate", "--config", "study.yaml", "--json", "seeds=2", "stopping.rule=none", "stopping.max=2"]
    done = in_process(*words, "--address", shared_ray, cwd=own_study)
    assert done.code == 0, done.err
    assert "checked before the start: A1, A2, A4, A8, A9, A12 pass" in done.err
    said = json.loads(done.out)
    assert (said["counts"]["done"], said["report"]["complete"]) == (10, True)
    trial = own_study / "runs" / "my-study" / "trials" / "no-jitter" / "seed-1"
    watched = {row["monitor"] for row in read_table(Storage.open(str(trial)), TrialPaths("."), OBSERVATIONS)}
    assert {"confusion", "best_worst"} <= watched  # what `kind` brings


def test_nothing_is_overwritten(command, own_study: Path) -> None:
    (own_study / "study.yaml").write_text("mine")
    (own_study / "README.md").unlink()
    result = command("init", own_study)
    assert result.code == 2
    assert len(result.faults) == 6
    assert (own_study / "study.yaml").read_text() == "mine"
    assert not (own_study / "README.md").exists()


@pytest.mark.parametrize("name", ["ä", "-x", "a b", "..."])
def test_folders_that_cannot_name_a_study(command, tmp_path: Path, name: str) -> None:
    result = command("init", "--", tmp_path / name)
    assert result.code == 2
    assert len(result.faults) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("study", "package"), [("my-study", "my_study"), ("2024.b", "study_2024_b"), ("class", "study_class")]
)
def test_package_names(study: str, package: str) -> None:
    assert package_name(study) == package


def test_a_package_name_is_never_empty() -> None:
    with pytest.raises(InputError):
        package_name("--")
