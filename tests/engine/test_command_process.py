"""What a command has started ends with it, and with its worker; what it leaves is taken when it is whole."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.command._elsewhere import WritesElsewhere
from orchestrator.engine.command._environment import Seat, environment, rank_variables
from orchestrator.engine.command._leaving import LeftCheckpoints, matches, put_back
from orchestrator.engine.command._process import CannotStart, CommandProcess
from orchestrator.engine.command.runner import CommandTrial
from orchestrator.engine.place import Written, watch
from orchestrator.study.command import CommandSpec

pytestmark = pytest.mark.slow

TREE = """
import subprocess, sys, time
deep = "import time; print('deep', flush=True); time.sleep(1000)"
subprocess.Popen(["setsid", sys.executable, "-c", deep])
time.sleep(1000)
"""


def started(
    words: list[str], folder: Path, grace_s: float = 5.0
) -> tuple[CommandProcess, list[str], list[str]]:
    shown, lines = list[str](), list[str]()
    return (
        CommandProcess(words, folder, environment({}, {}), grace_s, shown.append, lines.append),
        shown,
        lines,
    )


def run(words: list[str], folder: Path) -> tuple[int, str, list[str], list[str]]:
    process, shown, lines = started(words, folder)
    with process:
        while not process.over:
            process.take(5)
        return process.finish(), "".join(shown), lines, process.last_lines()


def test_what_it_prints_comes_as_text_and_as_lines(tmp_path: Path) -> None:
    words = ["printf", "one\\n 10%%\\r 20%%\\rtwo\\n\\303\\244\\nlast \\377"]
    code, shown, lines, last = run(words, tmp_path)
    assert code == 0
    assert shown == "one\n 10%\r 20%\rtwo\nä\nlast \\xff"
    assert lines == ["one", "two", "ä", "last \\xff"]
    assert last == []  # it has not failed
    assert run(["sh", "-c", "echo out; echo wrong >&2; exit 3"], tmp_path)[3] == ["wrong"]


def test_how_it_ends_and_that_it_cannot_start(tmp_path: Path) -> None:
    assert run(["sh", "-c", "exit 7"], tmp_path)[0] == 7
    assert run(["sh", "-c", "kill -9 $$"], tmp_path)[0] == -signal.SIGKILL
    with pytest.raises(CannotStart, match="No such file or directory: nosuch"):
        run(["nosuch"], tmp_path)


def gone(pids: list[int], within_s: float = 10.0) -> bool:
    """Whether all of them end; orphans too, which are nobody's here."""
    deadline = time.monotonic() + within_s
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
        finally:
            os.close(fd)
    return True


def below(leader: int) -> list[int]:
    """A process and what descends from it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found, level = [leader], {leader}
    while level := {pid for pid, parent in parents.items() if parent in level}:
        found += level
    return found


def test_it_is_ended_with_what_has_left_its_group(tmp_path: Path) -> None:
    process, shown, _ = started([sys.executable, "-c", TREE], tmp_path)
    with process:
        while "deep" not in "".join(shown):
            process.take(5)
        assert process.pid is not None
        pids = below(process.pid)
        assert len(pids) == 2
    assert gone(pids, 0.0)


WORKER = f"""
import os, sys
from pathlib import Path
from orchestrator.engine.command._process import CommandProcess
seen = []
words = [sys.executable, "-c", {TREE!r}]
process = CommandProcess(words, Path("."), os.environ, 60.0, seen.append, seen.append)
while "deep" not in seen:
    process.take(5)
print(process.pid, process._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("victim", ["worker", "supervisor"])
def test_nothing_is_left_when_its_worker_is_killed(tmp_path: Path, victim: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdin=-1, stdout=-1, text=True, cwd=tmp_path)
    assert worker.stdout is not None
    pid, supervisor = map(int, worker.stdout.readline().split())
    pids = below(supervisor)
    assert {pid, supervisor} < set(pids)
    try:
        if victim == "worker":
            worker.kill()
            assert gone(pids)
        else:
            os.kill(supervisor, signal.SIGKILL)
            assert gone([supervisor, pid])  # what has left the session is nobody's then
    finally:
        for other in (*pids, worker.pid):
            with suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
        worker.communicate()


def test_a_checkpoint_is_taken_once_and_not_while_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("left by an earlier attempt")
    writing: set[Path] = set()
    left = LeftCheckpoints(tmp_path, "*.pt", writing.__contains__)
    assert left.take() is None
    (tmp_path / "b.pt").write_text("b")
    os.utime(tmp_path / "b.pt", (10e9, 10e9))
    writing.add(tmp_path / "b.pt")
    assert left.take() is None
    writing.clear()
    part = left.take()
    assert part is not None
    assert (part.files() / "b.pt").read_text() == "b"
    part.discard()
    assert left.take() is None


def test_of_a_killed_command_only_what_was_whole_before_is_taken(tmp_path: Path) -> None:
    writing: set[Path] = set()
    left = LeftCheckpoints(tmp_path, "*.pt", writing.__contains__)
    for name, age in (("old.pt", 60), ("young.pt", 0)):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    writing.add(tmp_path / "young.pt")
    old, both = {tmp_path / "old.pt"}, {tmp_path / "old.pt", tmp_path / "young.pt"}
    assert left.whole(killed=False).keys() == old
    writing.clear()
    assert left.whole(killed=True).keys() == old
    before = left.whole(killed=False)
    assert before.keys() == both
    (tmp_path / "young.pt").write_text("torn by the signal")
    for whole, name in ((before, "old.pt"), (None, "young.pt"), (None, None)):
        part = left.take_last(whole)
        assert (part and [path.name for path in part.files().iterdir()]) == (name and [name])
        if part is not None:
            part.discard()


WRITES = """
exec 3> {apart}/open.csv 4>> {apart}/open.log 5< {apart}/read.csv 6> own.csv
echo ready
exec sleep 1000
"""


def test_what_a_command_has_open_elsewhere_is_told_once(tmp_path: Path) -> None:
    home, apart = tmp_path / "home", tmp_path / "apart"
    home.mkdir()
    apart.mkdir()
    (apart / "read.csv").touch()
    said: list[str] = []
    written = Written(home, home, home, ())
    words = ["sh", "-c", WRITES.format(apart=apart)]
    elsewhere = WritesElsewhere([], home)
    with CommandProcess(words, home, os.environ, 5, said.append, _ignored) as process, watch(written):
        while "ready" not in "".join(said):
            process.take(5)
        for _ in range(2):
            elsewhere.look(process.writing())
    assert written.told() == ((str(apart / "open.csv"),), ())  # a log is added to


def test_files_that_its_words_name_are_told_where_they_have_changed(tmp_path: Path) -> None:
    home, apart = tmp_path / "home", tmp_path / "apart"
    home.mkdir()
    apart.mkdir()
    for name in ("same", "changed", "added"):
        (apart / name).write_text("1\n")
    written = Written(home, home, home, ())
    words = [
        *("python", "train.py", str(apart), f"--out={apart}/new", f"{apart}/never", f"{apart}/same"),
        *("sh", "-c", f"cat {apart}/changed --log={apart}/added"),
        *(f"{home}/own", "/dev/stdin", "/proc/self/status"),
    ]
    with watch(written):
        elsewhere = WritesElsewhere(words, home)
        (apart / "new").write_text("2")
        written.paths.clear()  # our own open is heard, too
        os.system(f"echo 2 > {apart}/changed; echo 2 >> {apart}/added; echo 2 > {home}/own")
        elsewhere.ended()
    assert written.told() == ((f"{apart}/new", f"{apart}/changed"), ())


class FollowingRank:
    """What a rank of a command on another host has around it."""

    rank, world_size, resume = 2, 4, None
    spec = SimpleNamespace(stopping=SimpleNamespace(unit="epoch"))
    assignment = SimpleNamespace(cell="c")

    def __init__(self, folder: Path, *, shared_disk: bool) -> None:
        self.folder, self.link, self.said = folder, self, list[str]()
        self.storage = SimpleNamespace(is_local=shared_disk)

    def config(self) -> dict[str, Any]:
        return {}

    def of_all(self, what: str, mine: Any) -> dict[int, Seat]:
        return {rank: Seat("ab"[rank // 2], "10.0.0.1", 1, -1) for rank in range(4)}

    def tell(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(("rank", "shared_disk", "told"), [(2, False, 1), (3, False, 0), (2, True, 0)])
def test_checkpoints_that_only_another_host_has_are_told_once(
    tmp_path: Path, rank: int, shared_disk: bool, told: int
) -> None:
    run: Any = FollowingRank(tmp_path, shared_disk=shared_disk)
    run.rank = rank
    (tmp_path / "put-back.pt").touch()
    trial = CommandTrial(CommandSpec.model_validate({"command": "x", "checkpoint": "*.pt"}), run)
    trial._variables(None)
    left = LeftCheckpoints(tmp_path, "*.pt", lambda _: False)
    trial._tell_of_lost(left)
    assert run.said == []
    (tmp_path / "own.pt").touch()
    for _ in range(2):
        trial._tell_of_lost(left)
    assert len(run.said) == told
    assert all("rank 2 leaves checkpoints on b (own.pt)" in text for text in run.said)


def _ignored(_: str) -> None: ...


def test_what_is_linked_into_the_directory_is_not_the_commands(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "project"
    for folder in (home, elsewhere):
        folder.mkdir()
    (elsewhere / "pretrained.pt").write_text("")
    (home / "models").symlink_to(elsewhere)
    (home / "pretrained.pt").symlink_to(elsewhere / "pretrained.pt")
    (home / "own.pt").write_text("")
    assert list(matches(home, "**/*.pt")) == [home / "own.pt"]


@pytest.mark.parametrize("kind", ["file", "directory", "named"])
def test_it_is_put_back_where_it_was(tmp_path: Path, kind: str) -> None:
    home, other, kept = tmp_path / "home", tmp_path / "other", tmp_path / "kept"
    for folder in (home, other):
        folder.mkdir()
    left = LeftCheckpoints(home, "out/step-*", lambda _: False)
    made = home / "out" / "step-1" if kind != "named" else tmp_path / "elsewhere"
    made.parent.mkdir(exist_ok=True)
    if kind == "directory":
        made.mkdir()
        (made / "weights").write_text("w")
        os.utime(made / "weights", (1e9, 1e9))
        os.utime(made, (1e9, 1e9))
    else:
        made.write_text("w")
    part = left.take(made if kind == "named" else None)
    assert part is not None
    part.files().rename(kept)
    back = put_back(kept, other, "out/step-*")
    assert (back / "weights" if kind == "directory" else back).read_text() == "w"
    if kind != "named":
        assert back == other / "out" / "step-1"


def test_ranks_over_two_hosts() -> None:
    seats = {
        0: Seat("a", "10.0.0.1", 29500, -1),
        1: Seat("a", "10.0.0.1", 29501, -1),
        2: Seat("b", "10.0.0.2", 29502, 0),
    }
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    rows = [tuple(rank_variables(seats, rank, "x")[name] for name in names) for rank in seats]
    assert rows == [
        ("0", "0", "2", "0", "10.0.0.1", "29500"),
        ("1", "1", "2", "0", "10.0.0.1", "29500"),
        ("2", "0", "1", "1", "10.0.0.1", "29500"),
    ]


def test_one_command_is_no_rank_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "RAY_JOB_ID", "PYTHONBREAKPOINT"):
        monkeypatch.setenv(name, "1")
    found = environment({"ORCHESTRATOR_TRIAL_DIR": Path("/x")}, {})
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "RAY_JOB_ID", "PYTHONBREAKPOINT"} & set(found)
    assert found["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
