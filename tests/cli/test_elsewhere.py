"""The same study file from another directory: no second study is begun without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api.study import Study
from orchestrator.cli.ablate import refuse_elsewhere
from orchestrator.errors import InputError


def test_a_study_begun_from_another_directory(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_elsewhere(Study.from_file("study.yaml"))  # where it was begun
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    (below / "trial.py").symlink_to(tmp_path / "trial.py")
    with pytest.raises(InputError) as caught:
        refuse_elsewhere(Study.from_file("../study.yaml"))
    (fault,) = caught.value.faults
    assert fault.value == str(tmp_path / "runs/small")
    assert f"cd {tmp_path}" in (fault.hint or "")
    refuse_elsewhere(Study.from_file("../study.yaml", f"storage={tmp_path / 'runs'}"))
    (tmp_path / "runs").rename(tmp_path / "gone")
    capsys.readouterr()
    refuse_elsewhere(Study.from_file("../study.yaml"))
    assert f"storage: {below / 'runs'}" in capsys.readouterr().err


def test_the_plan_names_the_other_metrics(command, study: Path) -> None:
    study.write_text(study.read_text().replace("mode: min}", "mode: min, also: [acc, f1]}"))
    assert "loss (min); also acc, f1" in command("plan", "-c", study).out


def test_the_command_refuses_before_anything_starts(
    command, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    (below / "trial.py").symlink_to(tmp_path / "trial.py")
    result = command("ablate", "-c", "../study.yaml")
    assert result.code == 2
    assert "was begun from another directory" in result.err
    assert not (below / "runs").exists()
