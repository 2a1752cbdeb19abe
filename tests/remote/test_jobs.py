"""Orders, jobs and what travels."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ExitCode, InputError, StudyHeld
from orchestrator.remote.jobs import Order, config_from_here, judge, place, study_files
from orchestrator.remote.shipping import Parcel, pack
from orchestrator.study.entrypoint import EntrypointSource
from orchestrator.study.spec import StudySpec

ORDER = Order(
    study="digits",
    storage="/srv/runs",
    parcel=Parcel(b"", "d" * 64, "e" * 64, "~/.orchestrate/code/digits/dddd", "."),
    config="study.yaml",
    cluster="cluster.yaml",
    overrides=("seeds=3", "storage=/srv/runs"),
    flags=("--retry-failed",),
)


def job(order: Order = ORDER, **changes: Any) -> dict[str, Any]:
    return {**order.entry(), "submission": "s", "open": True, "status": "RUNNING", "code": None, **changes}


def test_the_command_on_the_head() -> None:
    words = ["ablate", "--config", "study.yaml", "seeds=3", "storage=/srv/runs", "--retry-failed"]
    assert ORDER.words == words
    assert replace(ORDER, as_json=True).words == [*words, "--json"]
    assert ORDER.entry()["root"] == "/srv/runs/digits"


def test_the_same_command_finds_its_job() -> None:
    assert place([], ORDER) is None
    assert place([job(open=False)], ORDER) is None
    assert place([job(study="other")], ORDER) is None
    assert place([job(study="other"), job()], ORDER) == job()
    assert place([job()], replace(ORDER, flags=(), as_json=True)) == job()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"overrides": ("seeds=4",)}, "with other code or settings"),
        ({"parcel": replace(ORDER.parcel, identity="f" * 64)}, "with other code or settings"),
        ({"flags": ("--fresh",)}, "without --fresh"),
    ],
)
def test_another_command_does_not_take_the_job_over(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyHeld, match=words):
        place([job()], replace(ORDER, **changed))


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, ExitCode.DONE),
        ("FAILED", 1, ExitCode.FAILED),
        ("FAILED", 2, ExitCode.BAD_INPUT),
        ("FAILED", 3, ExitCode.BUDGET),
        ("FAILED", 4, ExitCode.UNAVAILABLE),
        ("FAILED", 130, ExitCode.INTERRUPTED),
        ("FAILED", 143, ExitCode.TERMINATED),
        ("STOPPED", None, ExitCode.TERMINATED),
        ("FAILED", -9, ExitCode.UNAVAILABLE),
        ("FAILED", 137, ExitCode.UNAVAILABLE),
        ("FAILED", None, ExitCode.UNAVAILABLE),
    ],
)
def test_the_exit_code_is_that_of_the_study(status: str, code: int | None, expected: ExitCode) -> None:
    exit_code, words = judge(job(status=status, code=code, message="the node died\nlogs"))
    assert exit_code is expected
    lost = expected is ExitCode.UNAVAILABLE and code != 4
    assert (words is not None) == (lost or status == "STOPPED")


SPEC = StudySpec.model_validate(
    {
        "name": "digits",
        "entrypoint": "trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"level": 1},
        "seeds": 1,
        "stopping": {"max": 1},
    }
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/trial.py").write_text("def train(config): ...")
    (tmp_path / "code/base.yaml").write_text("name: base")
    (tmp_path / "code/.secret.py").write_text("token = 1")
    (tmp_path / "code/weights.bin").write_text("data")
    (tmp_path / "code/study.yaml").write_text("extends: base.yaml\nname: digits")
    return tmp_path


def names(parcel: Parcel) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(parcel.archive), mode="r:gz") as archive:
        return archive.getnames()


def source(root: Path) -> EntrypointSource:
    return EntrypointSource("trial", "train", root, root / "trial.py")


def test_code_and_study_travel_and_nothing_else(project: Path) -> None:
    code = project / "code"
    files = study_files(code / "study.yaml")
    assert [path.name for path in files] == ["study.yaml", "base.yaml"]
    parcel = pack(SPEC, source(code), files, code)
    assert names(parcel) == ["base.yaml", "study.yaml", "trial.py"]
    assert parcel.folder == "."
    assert parcel == pack(SPEC, source(code), files, code), "the same files are the same parcel"


def test_notes_and_fetched_reports_do_not_change_a_study(project: Path) -> None:
    code = project / "code"
    files = study_files(code / "study.yaml")
    before = pack(SPEC, source(code), files, code, [code / "reports"])
    (code / "reports").mkdir()
    (code / "reports/report.md").write_text("fetched")
    assert pack(SPEC, source(code), files, code, [code / "reports"]) == before
    (code / "notes.md").write_text("a note")
    (code / "figures.py").write_text("nothing imports it")
    noted = pack(SPEC, source(code), files, code, [code / "reports"])
    assert (noted.identity, noted.digest != before.digest) == (before.identity, True)
    (code / "trial.py").write_text("def train(config): pass")
    assert pack(SPEC, source(code), files, code, [code / "reports"]).identity != before.identity


def test_positions_stay_as_they_are(project: Path) -> None:
    code = project / "code"
    parcel = pack(SPEC, source(code), study_files(code / "study.yaml"), project)
    assert names(parcel) == ["code/base.yaml", "code/study.yaml", "code/trial.py"]
    elsewhere = project / "deep/er"
    elsewhere.mkdir(parents=True)
    parcel = pack(SPEC, source(code), study_files(code / "study.yaml"), elsewhere)
    assert names(parcel) == ["code/base.yaml", "code/study.yaml", "code/trial.py"]
    assert parcel.folder == "deep/er"
    assert config_from_here(code / "study.yaml", elsewhere) == "../../code/study.yaml"


def test_code_that_is_installed_on_every_node_does_not_travel(project: Path) -> None:
    installed = replace(source(project), root=project / "site-packages")
    parcel = pack(SPEC, installed, [project / "code/base.yaml"], project / "code")
    assert names(parcel) == ["base.yaml"]


def test_a_study_file_from_elsewhere_is_refused(project: Path) -> None:
    (project / "study.yaml").write_text("name: x")
    with pytest.raises(InputError, match="lies outside of what travels"):
        pack(SPEC, source(project / "code"), [project / "study.yaml"], project / "code")


def test_a_study_name_cannot_leave_the_directory_of_code(project: Path) -> None:
    code = project / "code"
    parcel = pack(SPEC.model_copy(update={"name": "../../x"}), source(code), [code / "base.yaml"], code)
    assert ".." not in parcel.directory.split("/")
