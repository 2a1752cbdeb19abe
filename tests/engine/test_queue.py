"""Studies that wait for others to end: in the order in which they came, also when one before them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO

import pytest

from orchestrator.cli.app import main
from orchestrator.engine.sharing import Offer, Queued, StudyQueue, StudyRegister, Tenant, Want, in_front

pytestmark = pytest.mark.slow


def tenant(study: str, since: int, pid: int = 1) -> Tenant:
    return Tenant(study, f"/runs/{study}", pid, since, 0, (1.0, 0))


def queued(study: str, since: int, pid: int = 1) -> Queued:
    return Queued(study, f"/runs/{study}", pid, since)


@pytest.mark.parametrize(
    ("tenants", "queue", "found"),
    [
        ([], [], []),
        ([tenant("a", 1, 7)], [], ["a (process 7)"]),
        ([tenant("later", 9, 7)], [queued("behind", 9, 8)], []),
        ([tenant("b", 2, 8)], [queued("a", 1, 7)], ["a (process 7)", "b (process 8)"]),
        ([tenant("a", 4, 7)], [queued("a", 1, 7)], ["a (process 7)"]),  # it has its turn, and keeps its place
        ([tenant("mine", 1, 7)], [], ["mine (process 7)"]),  # the same study, by another command
    ],
)
def test_who_came_before_is_waited_for(tenants: list[Tenant], queue: list[Queued], found: list[str]) -> None:
    assert in_front(queued("mine", 5, 9), tenants, [queued("mine", 5, 9), *queue]) == found


WAITS = """
import sys
from pathlib import Path
from orchestrator.engine.sharing import StudyQueue, StudyRegister

queue = StudyQueue(StudyRegister(Path(sys.argv[1])))
say = lambda text: print(text, flush=True)
with queue.turn(sys.argv[2], "/runs/" + sys.argv[2], say) as ours:
    print("runs" if ours else "cancelled", flush=True)
    sys.stdin.read()
"""


class Waiter:
    """A command in the queue: a process that says what it waits for, and ends when it is told to."""

    def __init__(self, register: StudyRegister, study: str) -> None:
        command = [sys.executable, "-c", WAITS, str(register.folder), study]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.pid = self.process.pid

    def said(self) -> str:
        stream: IO[str] | None = self.process.stdout
        assert stream is not None
        return stream.readline().strip()

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def waiter(tmp_path: Path) -> Iterator[Callable[[str], Waiter]]:
    begun: list[Waiter] = []

    def begin(study: str) -> Waiter:
        begun.append(Waiter(StudyRegister(tmp_path / "studies"), study))
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.communicate()


@contextmanager
def running(register: StudyRegister) -> Iterator[None]:
    with register.claimed(Want("first", "/runs/first", 1, 0), Offer(4), print):
        yield


def test_each_begins_when_all_before_it_have_ended(tmp_path: Path, waiter: Callable[[str], Waiter]) -> None:
    register = StudyRegister(tmp_path / "studies")
    queue = StudyQueue(register)
    mine = f"first (process {os.getpid()})"
    with running(register):
        second = waiter("second")
        assert second.said() == f"waiting for {mine} to end. Nothing has begun; Ctrl-C gives up"
        third = waiter("third")
        both = f"{mine}, second (process {second.pid})"
        assert third.said().startswith(f"waiting for {both} to end")
        assert [(one.study, ahead) for one, ahead in queue.waiting()] == [
            ("second", [mine]),
            ("third", both.split(", ")),
        ]
        assert [one.study for one in register.tenants()] == ["first"]  # who waits holds nothing
    assert second.said() == "runs"
    assert third.said().startswith(f"waiting for second (process {second.pid}) to end")
    with running(register):  # came later: nobody waits for it
        second.end()
        assert third.said() == "runs"
    assert queue.waiting() == []
    third.end()
    assert list(queue.folder.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_that_dies_in_the_queue_is_not_waited_for(
    tmp_path: Path, waiter: Callable[[str], Waiter], how: signal.Signals
) -> None:
    register = StudyRegister(tmp_path / "studies")
    with running(register):
        second, third = waiter("second"), None
        second.said()
        third = waiter("third")
        third.said()
        second.process.send_signal(how)
        second.process.communicate()
        assert third.said().startswith(f"waiting for first (process {os.getpid()}) to end")
    assert third.said() == "runs"


def test_one_is_cancelled_and_those_behind_it_move_up(
    tmp_path: Path, waiter: Callable[[str], Waiter]
) -> None:
    register = StudyRegister(tmp_path / "studies")
    queue = StudyQueue(register)
    with running(register):
        second, third = waiter("second"), waiter("third")
        second.said()
        third.said()
        assert [one.pid for one in queue.cancel("/runs/second")] == [second.pid]
        assert second.said() == "cancelled"
        assert queue.cancel("/runs/elsewhere") == []
        second.end()
    while (said := third.said()) != "runs":
        assert said.startswith("waiting for ")
    assert queue.cancel("/runs/third") == []  # it runs: `stop` asks its driver


def test_a_directory_that_is_not_ours_alone_makes_nobody_wait(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir(mode=0o755)
    queue, notes = StudyQueue(StudyRegister(tmp_path / "studies")), list[str]()
    with queue.turn("me", "/runs/me", notes.append) as ours:
        assert ours
    assert "nor waited for" in notes[0]
    assert (queue.waiting(), queue.cancel("/runs/me")) == ([], [])


def test_what_cannot_be_waited_for_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--address", "auto"], ["--cluster", "cluster.yaml"]):
        assert main(["ablate", "-c", str(tmp_path / "study.yaml"), "--queue", *more]) == 2
        assert "is for studies on this machine" in capsys.readouterr().err


def test_a_wait_ends_by_the_command_that_stops_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a study that has no directory yet."""
    from threading import Thread

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    queue, told, answers = StudyQueue.here(), Event(), list[bool]()
    root = str(tmp_path / "runs" / "new study").replace(" ", "%20")

    def wait() -> None:
        with queue.turn("new study", root, lambda _: told.set(), lambda: Event().wait(0.01)) as ours:
            answers.append(ours)

    with running(queue.register):
        thread = Thread(target=wait, daemon=True)
        thread.start()
        assert told.wait(60)
        assert main(["stop", "new study"]) == 0
        thread.join(60)
    assert answers == [False]
    said = capsys.readouterr()
    assert f"told process {os.getpid()} not to wait any longer" in said.err
    assert main(["stop", "new study"]) == 2  # nothing waits, and nothing is recorded


def test_the_command_waits_and_has_begun_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "trial.py").write_text("def train(config):\n    raise RuntimeError\n")
    (tmp_path / "study.yaml").write_text(
        "{name: small, entrypoint: 'trial:train', metric: {name: loss, mode: min}, baseline: {a: true},\n"
        "components: {a: {without: {a: false}}}, seeds: 2, stopping: {rule: none, max: 3}}\n"
    )
    words = [sys.executable, "-P", "-m", "orchestrator", "ablate", "-c", "study.yaml", "--queue"]
    queue = StudyQueue.here()
    with (
        running(queue.register),
        subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as command,
    ):
        assert command.stderr is not None
        while "waiting for first (process" not in (line := command.stderr.readline()):
            assert line, "the command has ended"
        ((one, _),) = queue.waiting()
        assert (one.study, one.root, one.pid) == ("small", str(tmp_path / "runs" / "small"), command.pid)
        assert [found.pid for found in queue.cancel(one.root)] == [command.pid]
        assert "cancelled while it waited: nothing has begun" in command.stderr.read()
    assert command.returncode == 143
    assert not (tmp_path / "runs" / "small").exists()
