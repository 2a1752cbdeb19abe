"""`ablate` to the end of a study, whatever becomes of its terminal, and its words on the way. Without Ray."""

from __future__ import annotations

import fcntl
import gzip
import io
import json
import os
import pty
import shlex
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
import rayless

from orchestrator.api.recorded import open_study
from orchestrator.cli.app import main
from orchestrator.engine import driver, gateway
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease
from orchestrator.record.storage import Storage

pytestmark = pytest.mark.slow

STUDY = """\
name: toy
entrypoint: toy_trial:train
metric: {name: loss, mode: min}
baseline: {a: 1.0}
components:
  a: {swap: {two: {a: 2.0}}, why: Δ é 日}
seeds: 2
stopping: {max: 2, unit: epoch}
"""
TRIAL = """\
import os
from pathlib import Path
from orchestrator.engine.inprocess import report

def train(config):
    print("Δ é 日")
    for epoch in (1, 2):
        report({"epoch": epoch, "loss": config["a"] / epoch + 0.1 * config["seed"]})
        if Path("signal").exists():
            number = int(Path("signal").read_text())
            Path("signal").unlink()
            if number:
                os.kill(os.getpid(), number)
            else:
                Path("waiting").touch()
            for late in range(100_000):  # it leaves at one of these
                report({"epoch": 1 + late * 1e-6, "loss": 1.0})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file and its code, in the current directory."""
    (tmp_path / "toy_trial.py").write_text(TRIAL)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def without_ray(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of this process where Ray would be; the entrypoint is not imported before."""
    rayless.install(monkeypatch)
    monkeypatch.setattr(driver.checks, "Preflight", NoProbe)


class NoProbe:
    """In the place of a process that imports the entrypoint first."""

    job = "import"

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def result(self) -> None: ...

    def end(self) -> None: ...


def ablate(out: TextIO, err: TextIO, *words: str) -> int:
    with redirect_stdout(out), redirect_stderr(err):
        return main(["ablate", "--config", "study.yaml", *words])


def states(folder: Path) -> list[str]:
    return [str(cell.state) for cell in open_study(folder / "runs/toy").status().cells]


# ---- terminals -------------------------------------------------------------------------------------------


def gone() -> TextIO:
    """A pipe whose reader has left."""
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "w")


def hung_up() -> TextIO:
    """A terminal that was closed."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return os.fdopen(theirs, "w")


def closed() -> TextIO:
    stream = open(os.devnull, "w")  # noqa: PTH123, SIM115 - a device
    stream.close()
    return stream


def kept(encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def written(stream: TextIO) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined,no-any-return]


STREAMS: dict[str, tuple[Callable[[], TextIO], bool]] = {
    "the reader of stdout has left": (gone, False),
    "the reader of both has left": (gone, True),
    "stdout is full": (lambda: open("/dev/full", "w"), False),  # noqa: PTH123, SIM115 - a device
    "both are full": (lambda: open("/dev/full", "w"), True),  # noqa: PTH123, SIM115 - a device
    "both are closed": (closed, True),
    "the terminal has gone": (hung_up, True),
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_study_is_complete_whatever_becomes_of_its_streams(
    what: str, folder: Path, without_ray: None
) -> None:
    make, both = STREAMS[what]
    with closing(make()) as out, closing(make() if both else kept("utf-8")) as err:
        assert ablate(out, err) == 0
        assert states(folder) == ["done"] * 4
        assert (folder / "runs/toy/report.md").is_file()
        if both:
            return
        assert "baseline seed 1: done" in written(err)
        assert ("error: stdout cannot be written: No space left" in written(err)) == (
            what == "stdout is full"
        )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_study_is_complete_in_any_encoding(encoding: str, folder: Path, without_ray: None) -> None:
    out, err = kept(encoding), kept(encoding)
    assert ablate(out, err) == 0
    assert "D = arm - baseline" in written(out)
    assert "baseline seed 1: done at 2 epochs" in written(err)
    assert "Δ é 日" in (folder / "runs/toy/trials/baseline/seed-0/log.txt").read_text(encoding="utf-8")


@contextmanager
def drained(terminal: int) -> Iterator[bytearray]:
    """What is shown on a terminal while the block lasts; its other side has to be closed by then."""
    seen = bytearray()

    def read() -> None:
        with suppress(OSError):
            while chunk := os.read(terminal, 65536):
                seen.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    yield seen
    thread.join()
    os.close(terminal)


def test_a_study_is_complete_on_a_terminal_of_twenty_columns(
    folder: Path, without_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    for name, value in (("COLUMNS", "20"), ("LINES", "10"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    with drained(ours) as seen, os.fdopen(theirs, "w") as terminal:
        assert ablate(terminal, terminal) == 0
    assert b"4/4 cells" in bytes(seen)
    assert states(folder) == ["done"] * 4


def test_a_process_in_the_c_locale_whose_reader_leaves_at_once(folder: Path) -> None:
    words = shlex.join([*rayless.WORDS, "ablate", "-c", "study.yaml"])
    shell = f"{words} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    c_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, **c_locale}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "importing the entrypoint, then starting Ray ...\n")
    assert states(folder) == ["done"] * 4
    assert "Δ" in (folder / "runs/toy/report.md").read_text(encoding="utf-8")


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """SIGHUP has its effect, however these tests were started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.long
def test_a_terminal_that_is_closed_stops_the_study_cleanly(folder: Path) -> None:
    (folder / "signal").write_text("0")
    ours, theirs = pty.openpty()

    def control() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [*rayless.WORDS, "ablate", "-c", "study.yaml"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),  # type: ignore[call-overload]
        preexec_fn=control,
    )
    os.close(theirs)
    while not (folder / "waiting").exists():
        os.read(ours, 65536)
    os.close(ours)
    assert process.wait(120) == 143
    assert sorted(set(states(folder))) == ["cancelled", "pending"]
    assert '"stopped by SIGHUP"' in (folder / "runs/toy/journal.jsonl").read_text()


# ---- its words -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_study_that_is_stopped_says_how_it_goes_on_and_goes_on(
    number: signal.Signals, code: int, folder: Path, without_ray: None, command: Any, fits: Any
) -> None:
    (folder / "signal").write_text(str(int(number)))
    stopped = command("ablate", "--config", "study.yaml", "seeds=2", "--json")
    assert stopped.code == code
    assert stopped.document["interrupted"] is True
    fits("ablate", stopped.document)
    said = stopped.err.splitlines()
    assert f"stopped by {number.name}" in said
    assert driver.LEAVING in said
    assert said[-2:] == [
        "stopped: nothing is lost, the same command resumes",
        "go on:   orchestrate ablate --config study.yaml seeds=2",
    ]
    assert set(states(folder)) == {"cancelled", "pending"}
    done = command("ablate", "--config", "study.yaml", "seeds=2")
    assert done.code == 0
    assert "baseline seed 0: running, attempt 2\n" in done.err
    assert "go on" not in done.err
    assert states(folder) == ["done"] * 4


def test_the_same_command_once_more_runs_nothing(folder: Path, without_ray: None, command: Any) -> None:
    first = command("ablate", "-c", "study.yaml")
    journal = (folder / "runs/toy/journal.jsonl").read_bytes()
    again = command("ablate", "-c", "study.yaml")
    assert (again.code, again.out) == (0, first.out)
    assert "nothing is left to run: every trial has ended\n" in again.err
    assert "running" not in again.err
    assert (folder / "runs/toy/journal.jsonl").read_bytes() == journal


def test_the_same_command_while_it_runs_is_refused(folder: Path, without_ray: None, command: Any) -> None:
    (folder / "signal").write_text(str(int(signal.SIGINT)))
    command("ablate", "-c", "study.yaml")
    before = sorted(path for path in (folder / "runs/toy").rglob("*") if "control" not in path.parts)
    lease = Lease.acquire(Storage.open("runs"), StudyPaths("toy"), {"user": "somebody"})
    held = command("ablate", "-c", "study.yaml")
    assert held.code == 4
    (line,) = held.faults
    assert line.startswith(f"error: study toy is run by process {os.getpid()} on ")
    assert line.endswith(
        "(somebody): orchestrate watch shows it, orchestrate stop ends it; the same command then goes on"
    )
    assert before == sorted(path for path in (folder / "runs/toy").rglob("*") if "control" not in path.parts)
    lease.release()
    assert command("ablate", "-c", "study.yaml").code == 0


def test_a_machine_on_which_ray_cannot_start_is_refused_before_anything(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    for name in (gateway.MODE, gateway.TOKEN, gateway.TOKEN_PATH, "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/" + "x" * 90)
    monkeypatch.setenv("HOME", "/dev/null")
    refused = command("ablate", "-c", "study.yaml")
    assert refused.code == 4
    (line,) = refused.faults
    assert line.startswith("error: Ray cannot start on this machine: TMPDIR (/tmp/xxx")
    assert "set RAY_TMPDIR to a path of at most" in line
    assert "Ray keeps its token in /dev/null/.ray, but /dev/null is no directory" in line
    assert not (folder / "runs").exists()


def test_which_ray_it_is_is_said(
    folder: Path, without_ray: None, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    (folder / "signal").write_text(str(int(signal.SIGINT)))
    here = command("ablate", "-c", "study.yaml").err.splitlines()
    unused = "RAY_ADDRESS=10.0.0.7:6379 is not used: "
    assert f"{unused}Ray is started on this machine; --address 10.0.0.7:6379 connects" in here
    there = command("ablate", "-c", "study.yaml", "--address", "auto").err.splitlines()
    assert f"{unused}--address auto is" in there
    assert f"Ray: the cluster at {rayless.CLUSTER} (of --address auto)" in there


# ---- a trace ---------------------------------------------------------------------------------------------

PHASES = {
    *("start the command", "read and plan the study", "read the record", "pack the code", "import Ray"),
    *("wait for the check of the code", "start Ray", "open the record", "start the message actor"),
    *("run trials", "tidy up", "write the results", "leave Ray", "draw the report"),
}


def test_a_trace_has_the_phases_of_the_driver(folder: Path, without_ray: None) -> None:
    err = kept("utf-8")
    assert ablate(kept("utf-8"), err, "--trace") == 0
    assert "trace:   runs/toy/trace.json.gz" in written(err)
    events = json.loads(gzip.decompress((folder / "runs/toy/trace.json.gz").read_bytes()))["traceEvents"]
    assert {one["name"] for one in events if one["ph"] == "X"} >= PHASES


def test_a_trace_that_cannot_be_written_costs_the_study_nothing(folder: Path, without_ray: None) -> None:
    (folder / "runs/toy/trace.json.gz").mkdir(parents=True)
    (folder / "runs/toy/trace").touch()
    err = kept("utf-8")
    assert ablate(kept("utf-8"), err, "--trace") == 0
    assert states(folder) == ["done"] * 4
    assert written(err).count("the trace cannot be written, and the study goes on without") == 1
    assert written(err).count("trace:   not written: ") == 1


def test_whoever_the_study_names_is_told_of_its_end(folder: Path, without_ray: None, command: Any) -> None:
    (folder / "study.yaml").write_text(
        f"{STUDY}notify: {{command: [sh, -c, cat >> told.jsonl]}}\n", encoding="utf-8"
    )
    (folder / "signal").write_text(str(int(signal.SIGTERM)))
    for code in (143, 0, 0):  # the third has nothing left to run, and tells nobody
        assert command("ablate", "--config", "study.yaml").code == code
    told = [json.loads(line) for line in (folder / "told.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(one["event"], one["exit_code"]) for one in told] == [("end", 143), ("end", 0)]
    assert told[0]["text"].startswith("toy: terminated: 0 of 4 trials answered.")
    assert told[0]["text"].endswith("runs/toy; the same command goes on")
    assert told[1]["text"].startswith("toy: done: 4 of 4 trials answered.")
