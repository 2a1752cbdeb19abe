"""What every runtime holds: a study with these faults leaves the same record, on Ray and in threads."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contract
import pyarrow.parquet as pq
import pytest

from orchestrator.decide.states import TrialState
from orchestrator.engine import inprocess
from orchestrator.engine.inprocess import Faults, PlantedFault, run_in_process
from orchestrator.engine.running import StudyOutcome
from orchestrator.errors import ExitCode
from orchestrator.record.codearchive import pack_files, read_code
from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

pytestmark = pytest.mark.slow

ENTRYPOINTS = Path(__file__).parent / "entrypoints"

# arm -> what goes wrong, and at which report
FAULTS: dict[str, tuple[Any, int]] = {
    "killed": ("worker killed", 3),
    "hangs": ("hang", 3),
    "moved": ("slot lost", 3),
}
# arm -> state, cause, attempts, reports in the record, words of the reason
ENDS: dict[str, tuple[str, str | None, int, int, str]] = {
    "kind=nan": ("diverged", None, 1, 3, "loss is nan at report 3"),
    "kind=raises": ("failed", "user", 1, 2, "ValueError: the fault of the user's own code"),
    "kind=early": ("failed", "short", 1, 2, "returned at 2 of 4 epochs"),
    "kind=leaves": ("failed", "user", 1, 2, "SystemExit: 3"),
    "kind=killed": ("done", None, 2, 4, ""),
    "kind=hangs": ("done", None, 2, 4, ""),
    "kind=moved": ("done", None, 2, 4, ""),
    "level=high": ("done", None, 1, 4, ""),
    "baseline": ("done", None, 1, 4, ""),
}


def study(folder: Path, **changes: Any) -> StudySpec:
    kinds = ("nan", "raises", "early", "leaves", *FAULTS)
    faults = [{"kind": kind, "what": what, "at": at} for kind, (what, at) in FAULTS.items()]
    data: dict[str, Any] = {
        "name": "contract",
        "entrypoint": "contract:on_ray",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"kind": "sound", "level": 1.0, "faults": faults, "dir": str(folder)},
        "components": {
            "kind": {"swap": {kind: {"kind": kind} for kind in kinds}},
            "level": {"swap": {"high": {"level": 2.0}}},
        },
        "seeds": [0],
        "stopping": {"rule": "none", "max": 4, "unit": "epoch"},
        "resources": {"max_parallel": 1},
        "failures": {"max_retries": 1, "report_timeout": 10},
        "storage": str(folder / "storage"),
    }
    return StudySpec.model_validate({**data, **changes})


@dataclass
class Finished:
    """A study that has run, and its record."""

    spec: StudySpec
    outcome: StudyOutcome
    storage: Storage

    @property
    def paths(self) -> StudyPaths:
        return StudyPaths.of(self.spec.name)

    def result(self, arm: str) -> dict[str, Any]:
        rows = pq.read_table(self.storage.local_path(self.paths.results_parquet)).to_pylist()
        (row,) = [row for row in rows if row["arm"] == arm]
        return row

    def rows(self, arm: str) -> list[dict[str, Any]]:
        return read_metrics(self.storage, self.paths.trial(arm, 0))

    def events(self, arm: str) -> list[dict[str, Any]]:
        (cell,) = [cell.cell for cell in make_plan(self.spec).cells if cell.arm == arm]
        found = [line.plain() for line in read_journal(self.storage, self.paths.journal).lines]
        return [event for event in found if event.get("cell") == cell]

    def log(self, arm: str) -> str:
        return Path(self.storage.local_path(f"{self.paths.trial_dir(arm, 0)}/log.txt")).read_text()


def in_threads(config: dict[str, Any]) -> None:
    def report(metrics: dict[str, Any], folder: Path) -> None:
        uploads = inprocess.session().uploads
        assert uploads is not None
        uploads.wait()  # the checkpoint before is stored, whatever happens now
        inprocess.report(metrics, folder)

    with inprocess.get_checkpoint() as resumed:
        contract.train(config, resumed, report)


def with_threads(folder: Path) -> Finished:
    spec = study(folder)
    storage = Storage.open(spec.storage)
    faults = Faults(*(PlantedFault(what, at, arm=f"kind={kind}") for kind, (what, at) in FAULTS.items()))
    with closing(StudyRecord.open(storage, spec, make_plan(spec), Start("code"))) as record:
        outcome = run_in_process(spec, record, in_threads, faults=faults, clock=faults.clock)
    return Finished(spec, outcome, storage)


def with_ray(folder: Path, address: str) -> Finished:
    from orchestrator.engine.conduct._conductor import Conductor
    from orchestrator.engine.messages import RunFacts
    from orchestrator.engine.on_ray import cluster
    from orchestrator.engine.on_ray._tune_runtime import TuneRuntime
    from orchestrator.engine.pump import Pump, conclude
    from orchestrator.engine.running import Quiet

    spec = study(folder)
    storage = Storage.open(spec.storage)
    code = pack_files(read_code(ENTRYPOINTS))
    with closing(StudyRecord.open(storage, spec, make_plan(spec), Start("code", code))) as record:
        facts = RunFacts(
            spec, storage, record.paths.root, str(ENTRYPOINTS), "contract", record.paths.code_archive, 0.0
        )
        with cluster.connected(address):
            conductor = Conductor(record, spec, gpus_per_worker=0.0)
            runtime = TuneRuntime(facts)
            with closing(runtime), Pump(conductor, runtime, record, Quiet()).beside() as road:
                runtime.run(road)
            outcome = conclude(conductor, record)
    return Finished(spec, outcome, storage)


@pytest.fixture(
    scope="module",
    params=["threads", pytest.param("ray", marks=pytest.mark.ray)],
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("contract")
    if request.param == "threads":
        return with_threads(folder)
    return with_ray(folder, request.getfixturevalue("shared_ray"))


@pytest.mark.parametrize("arm", ENDS)
def test_each_arm_ends_as_it_has_to(finished: Finished, arm: str) -> None:
    state, cause, attempts, reports, reason = ENDS[arm]
    row = finished.result(arm)
    assert (row["state"], row["cause"], row["attempts"]) == (state, cause, attempts), row
    assert reason in (row["reason"] or "")
    assert [r["report"] for r in finished.rows(arm)] == list(range(1, reports + 1))


def test_the_study_says_that_cells_failed(finished: Finished) -> None:
    assert finished.outcome.exit_code is ExitCode.FAILED
    assert finished.outcome.counts[TrialState.FAILED] == 3


@pytest.mark.parametrize("kind", FAULTS)
def test_a_trial_that_was_interrupted_ends_with_the_curve_of_one_that_was_not(
    finished: Finished, kind: str
) -> None:
    curve = [(row["epoch"], row["loss"]) for row in finished.rows(f"kind={kind}")]
    assert curve == [(row["epoch"], row["loss"]) for row in finished.rows("baseline")]
    assert [row["attempt"] for row in finished.rows(f"kind={kind}")] == [1, 1, 2, 2]


@pytest.mark.parametrize("arm", ["baseline", "kind=raises", *(f"kind={kind}" for kind in FAULTS)])
def test_the_journal_has_every_step_in_its_order(finished: Finished, arm: str) -> None:
    found = [(event["event"], event["attempt"]) for event in finished.events(arm)]
    one = [("assign", 1), ("start", 1), ("checkpoint", 1), ("checkpoint", 1)]
    if arm == "baseline":
        assert found == [*one, ("checkpoint", 1), ("checkpoint", 1), ("end", 1)]
    elif arm == "kind=raises":
        assert found == [*one, ("failure", 1), ("end", 1)]
    else:
        two = [("assign", 2), ("start", 2), ("checkpoint", 2), ("checkpoint", 2), ("end", 2)]
        assert found == [*one, ("failure", 1), *two]


@pytest.mark.parametrize(
    ("kind", "cause", "fault"),
    [("killed", "infra", "worker killed"), ("hangs", "hang", "hang"), ("moved", "infra", "unknown")],
)
def test_a_failure_is_told_by_its_kind(finished: Finished, kind: str, cause: str, fault: str) -> None:
    (event,) = [event for event in finished.events(f"kind={kind}") if event["event"] == "failure"]
    assert (event["cause"], event["fault"], event["again"]) == (cause, fault, True)


def test_the_log_has_what_was_printed_and_raised(finished: Finished) -> None:
    text = finished.log("kind=raises")
    assert text.startswith("from epoch 1\n")
    assert "ValueError: the fault of the user's own code" in text
    assert "from epoch 3" in finished.log("kind=killed")
