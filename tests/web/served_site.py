"""A directory with study files and one recorded study, and a client of the page over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from fastapi.testclient import TestClient

from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.sharing import Offer, StudyQueue, StudyRegister, Want
from orchestrator.record.events import Assigned, Noted, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study
from orchestrator.web.answers import Site
from orchestrator.web.app import make_app
from orchestrator.web.children import ChildProcesses
from orchestrator.web.guard import Sessions

STUDY = """\
name: small
entrypoint: trial:train
metric: {name: loss, mode: min}
baseline:
  model: {width: 32, batchnorm: true, kind: cnn}
  optim: {lr: 1e-3}
components:
  batchnorm: {without: {model.batchnorm: false}, why: <script>alert(1)</script>}
  kind: {swap: {vit: {model.kind: vit}, mlp: {model.kind: mlp}}}
seeds: 2
stopping: {rule: none, max: 3, unit: epoch}
"""
TRIAL = "def train(config):\n    raise RuntimeError('the page must not import user code')\n"
HOST = "127.0.0.1:8765"
TOKEN = "the-token"


@dataclass(frozen=True)
class Served:
    """`client` has a session; `root` is served, its study `small` is recorded."""

    root: Path
    site: Site
    client: TestClient

    def word(self) -> str:
        """What a form of this session has to hold."""
        return self.site.sessions.word(self.client.cookies["orchestrate-8765"])

    def post(self, path: str, **fields: Any) -> Any:
        """As a form of the page would."""
        return self.client.post(
            path,
            data={"word": self.word(), **fields},
            headers={"origin": f"http://{HOST}"},
            follow_redirects=False,
        )


def write_files(root: Path) -> None:
    """Two study files with their code, and files that are none."""
    (root / "configs").mkdir()
    (root / "trial.py").write_text(TRIAL)
    (root / "configs" / "small.yaml").write_text(STUDY)
    (root / "configs" / "bad.yaml").write_text(STUDY.replace("seeds: 2", "seeds: none"))
    (root / "configs" / "cluster.yaml").write_text("head: {}\n")
    (root / "compose.yaml").write_text("services: {}\n")


def record_study(root: Path, name: str = "small") -> StudyRecord:
    """One cell done, one failed with a hostile reason, one under way, the others pending.

    Returns the record; of the study `small` it is closed, the others run as long as it is open.
    """
    spec = load_study(root / "configs" / f"{name}.yaml").spec
    record = StudyRecord.open(
        Storage.open(root / "runs"), spec, make_plan(spec), Start("0" * 64), clock=lambda: 1000.0
    )
    by_name = {(cell.arm, cell.seed): cell.cell for cell in record.plan.cells}
    for arm, seed in (("baseline", 0), ("baseline", 1), ("no-batchnorm", 0)):
        record.append(Assigned(by_name[arm, seed], arm, seed, 1, "lane-0", None))
        record.storage.make_dir(StudyPaths(name).trial(arm, seed).root)
    ends: list[tuple[str, TrialState, Cause | None, str | None, float, float | None]] = [
        ("baseline", TrialState.DONE, None, None, 3.0, 0.25),
        ("no-batchnorm", TrialState.FAILED, Cause.USER, "<img src=x>", 1.0, None),
    ]
    for arm, *end in ends:
        record.append(TrialEnd(by_name[arm, 0], arm, 0, 1, *end, wall_s=2.0, gpu_s=0.0))
    record.append(Noted("a note & more"))
    record.sync()
    log = record.storage.local_path(StudyPaths(name).trial("no-batchnorm", 0).log())
    log.write_text("loading\n")
    if name == "small":
        record.close()
    return record


def serve(root: Path, host: str = "127.0.0.1") -> Served:
    """The page over `root`, and a client that has come in with the token."""
    site = Site(ChildProcesses(root), Storage.open(root / "runs"), Sessions(TOKEN), host, 8765)
    client = TestClient(make_app(site), base_url=f"http://{HOST}{site.sessions.base}")
    client.get("/", params={"token": TOKEN})
    return Served(root, site, client)


@contextmanager
def waiting(root: Path, study: str) -> Iterator[list[bool]]:
    """A study that runs on this machine, and one that waits for it to end."""
    register, waits, answers = StudyRegister.here(), Event(), list[bool]()

    def wait() -> None:
        queue = StudyQueue(register)
        pause = lambda: Event().wait(0.01)  # noqa: E731
        with queue.turn(study, str(root / "runs" / study), lambda _: waits.set(), pause) as ours:
            answers.append(ours)

    with register.claimed(Want("first", "/elsewhere/first", 1, 0), Offer(4), print):
        thread = Thread(target=wait, daemon=True)
        thread.start()
        assert waits.wait(60)
        yield answers
    thread.join(60)
