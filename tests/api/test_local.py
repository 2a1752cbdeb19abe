"""A study in this process: whole, and one trial of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import Study, open_study, run_local
from orchestrator.engine.inprocess import report
from orchestrator.errors import ExitCode, InputError
from orchestrator.record.storage import Storage

pytestmark = pytest.mark.slow


def train(config: dict[str, Any]) -> None:
    if config["level"] > 1.5 and config["seed"] == 1:
        raise ValueError("too high a level")
    for epoch in range(1, int(config["max_length"]) + 1):
        report({"epoch": epoch, "loss": config["level"] * (1 + config["seed"]) / epoch})


def test_a_whole_study(study: dict[str, Any]) -> None:
    planned = Study.from_dict(study)
    result = run_local(planned, function=train, progress="none")
    assert result.exit_code is ExitCode.FAILED
    assert result.counts == {"done": 3, "failed": 1}
    assert result.effects()["delta"] == [0.5]
    again = open_study("levels")
    assert again.metrics("level=two", 0)["loss"] == [2.0, 1.0]
    assert "too high a level" in again.results()["reason"][3]
    assert "ValueError" in again.log("level=two", 1)


def test_one_trial(study: dict[str, Any], tmp_path: Path) -> None:
    planned = Study.from_dict(
        {**study, "stopping": {"rule": "resolve", "max": 2, "unit": "epoch"}, "seeds": 3}
    )
    result = run_local(planned, "level=two", 2, function=train, progress="none")
    assert result.counts == {"done": 1}
    assert result.metrics("level=two", 2)["loss"] == [6.0, 3.0]
    assert not (tmp_path / "runs" / "levels" / "plan.json").exists()
    placed = run_local(planned, "baseline", storage=tmp_path / "one", function=train, progress="none")
    assert placed.metrics("baseline", 0)["loss"] == [1.0, 0.5]
    assert (tmp_path / "one" / "levels" / "plan.json").exists()


def test_what_cannot_be_meant_is_refused(study: dict[str, Any]) -> None:
    planned = Study.from_dict(study)
    with pytest.raises(InputError, match="did you mean level=two"):
        run_local(planned, "level=tow", function=train)
    with pytest.raises(InputError, match="name its arm"):
        run_local(planned, seed=1, function=train)


@pytest.mark.long
def test_a_resumed_study_is_read_once_and_once_more_for_its_report(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_local(Study.from_dict(study), function=train, progress="none")
    reads, checks = [], []
    read, check = Storage.read_bytes, Storage.check_writable

    def counted(storage: Storage, path: str, **how: Any) -> bytes:
        reads.extend([path] if "journal" in path else [])
        return read(storage, path, **how)

    monkeypatch.setattr(Storage, "read_bytes", counted)
    monkeypatch.setattr(Storage, "check_writable", lambda storage: checks.append(1) or check(storage))
    result = run_local(Study.from_dict(study), function=train, progress="none")
    assert (len(reads), len(checks)) == (1, 1)
    result.report(write=True)
    result.effects()
    assert len(reads) == 2
