"""The command as a user meets it: words in, exit code and two streams out; and a recorded study."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.cli.app import main
from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, Decided, Reported, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

STUDY = """\
name: small
entrypoint: trial:train
metric: {name: loss, mode: min}
baseline:
  model: {width: 32, batchnorm: true, dropout: 0.1}
components:
  batchnorm: {without: {model.batchnorm: false}, why: does it matter?}
  dropout: {without: {model.dropout: 0.0}}
seeds: 2
stopping: {rule: asha, max: 9, unit: epoch, grace: 1, reduction: 3}
"""
TRIAL = "def train(config):\n    raise RuntimeError('the command must not import user code')\n"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def faults(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


Command = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("plan", "--json")`: run it in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture(scope="session")
def write_study() -> Callable[[Path], Path]:
    """`write_study(folder)`: a study file and its code."""

    def write(folder: Path) -> Path:
        (folder / "trial.py").write_text(TRIAL)
        (folder / "study.yaml").write_text(STUDY)
        return folder / "study.yaml"

    return write


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_study: Callable[[Path], Path]) -> Path:
    """A study file in the current directory."""
    write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    return Path("study.yaml")


@pytest.fixture
def record(study: Path) -> StudyRecord:
    """The study's record, open: driven by this process."""
    spec = load_study(study).spec
    return StudyRecord.open(
        Storage.open(spec.storage), spec, make_plan(spec), Start("0" * 64), clock=lambda: 1000.0
    )


@pytest.fixture
def recorded(record: StudyRecord) -> Path:
    """What can happen to a cell: done, stopped at a rung, failed, lost with its driver, pending."""
    by_name = {(cell.arm, cell.seed): cell.cell for cell in record.plan.cells}
    baseline, other = by_name["baseline", 0], by_name["baseline", 1]
    stopped, failed = by_name["no-batchnorm", 0], by_name["no-dropout", 0]
    for lane, cell in enumerate((baseline, other, stopped, failed)):
        view = record.plan.cell(cell)
        record.append(Assigned(cell, view.arm, view.seed, 1, f"lane-{lane}", None))
    record.append(Reported(stopped, "no-batchnorm", 1, 3.0, 3.0, -0.8, 0.8, {}))
    reason = "rank 3 of 4 at rung 3, only the best 2 continue"
    record.append(Decided(stopped, "stop", TrialState.STOPPED, "asha", 3.0, -0.5, 3, 4, reason))
    ends: list[tuple[str, TrialState, Cause | None, str | None, float, float | None]] = [
        (baseline, TrialState.DONE, None, None, 9.0, 0.25),
        (stopped, TrialState.STOPPED, None, reason, 3.0, 0.8),
        (failed, TrialState.FAILED, Cause.USER, "ValueError: no such\nwidth", 2.0, None),
    ]
    for cell, *end in ends:
        view = record.plan.cell(cell)
        record.append(TrialEnd(cell, view.arm, view.seed, 1, *end, wall_s=60.0, gpu_s=0.0))
    record.sync()
    log = record.storage.local_path(record.paths.trial("no-dropout", 0).log())
    log.parent.mkdir(parents=True)
    log.write_text("loading\nValueError: no such width\n")
    record.close()
    return Path("runs/small")


@pytest.fixture
def driven(recorded: Path) -> Lease:
    """The recorded study with a driver: this process."""
    return Lease.acquire(Storage.open("runs"), StudyPaths("small"), {"user": "somebody"})


@pytest.fixture(scope="session")
def fits() -> Callable[[str, Any], None]:
    """`fits("status", document)`: the document is what docs/output.schema.json says of the verb."""
    file = Path(__file__).parents[2] / "docs" / "output.schema.json"
    schema = json.loads(file.read_text(encoding="utf-8"))

    def check(name: str, document: Any) -> None:
        named = {**schema, "anyOf": [{"$ref": f"#/$defs/{name}"}]}
        jsonschema.Draft202012Validator(named).validate(document)

    return check
