"""A command that cannot run: exit code 2, all faults at once, and nothing is started or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.app import main

STUDY = """\
name: script
entrypoint:
  command: pythn script.py --level {levle} --from {checkpoint}
  resume: --resume {checkpoint}
  arguments: argprase
  metrics: {file: a.csv, tensorboard: logs}
metric: {name: loss, mode: min}
baseline: {level: 1.0}
components: {level: {without: {level: 2.0}}}
seeds: 2
stopping: {max: 4}
datasets: script:data
"""
SAID = {
    "entrypoint.arguments": "did you mean argparse?",
    "entrypoint.metrics": "has 2 sources, file and tensorboard",
    "entrypoint.command": "(got {levle}); did you mean level?",
    "entrypoint.resume": "needs `checkpoint`",
    "datasets": "goes with a Ray Train function",
}


@pytest.mark.parametrize("verb", ["validate", "plan", "ablate"])
def test_all_faults_of_a_command_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    assert main([verb, "--config", "study.yaml"]) == 2
    err = " ".join(capsys.readouterr().err.split())
    for field, said in SAID.items():
        assert field in err
        assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_a_program_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace(" --level {levle} --from {checkpoint}", "").replace("  arguments: argprase\n", "")
    text = text.replace("  resume: --resume {checkpoint}\n", "").replace("datasets: script:data\n", "")
    (tmp_path / "study.yaml").write_text(text.replace(", tensorboard: logs", ""))
    assert main(["ablate", "--config", "study.yaml"]) == 2
    assert "there is no program 'pythn'" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
