"""The gates in a process of their own: user code never runs in the command's.

The process runs `serve`: it reads a request from stdin and prints each result as a marked line of JSON; other
lines are the user's prints.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from orchestrator.engine.probe import import_error
from orchestrator.training.gates.results import CheckRequest, GateResult, failed, gate_from_json

if TYPE_CHECKING:
    from orchestrator.engine.entry import Entry
    from orchestrator.training.gates.ladder import Gate

GATE_TIMEOUT_S = 300.0
"""A gate that takes longer is taken to hang."""
_MARK = "orchestrator-check:"

Job = Literal["check", "lr-find"]


def run_gates(
    request: CheckRequest, job: Job = "check", *, threads: int = 1, timeout_s: float = GATE_TIMEOUT_S
) -> Iterator[GateResult]:
    """Results as they come. A process that dies or hangs is the failure of the gate that was running.

    Raises:
        StudyError: the entrypoint does not import.
    """
    program = "from orchestrator.engine.checkprocess import serve; serve()"
    stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [sys.executable, "-c", program, job, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal is the command's to handle
    )
    try:
        yield from _results(process, request, timeout_s, stderr)
    finally:
        _end(process)
        process.wait()
        stderr.close()
        for stream in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


def _end(process: subprocess.Popen[str]) -> None:
    """It and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _results(
    process: subprocess.Popen[str], request: CheckRequest, timeout_s: float, stderr: IO[str]
) -> Iterator[GateResult]:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has died: the empty answer tells
        process.stdin.write(json.dumps(request.to_json(), default=str) + "\n")
        process.stdin.flush()
    running = ("A1", "look at the data")
    start = time.perf_counter()
    late = threading.Event()
    while True:
        line = _line_within(process, process.stdout, timeout_s, late)
        if not line:
            break
        if not line.startswith(_MARK):
            continue
        message = json.loads(line.removeprefix(_MARK))
        if "error" in message:
            raise import_error(request.entrypoint, message)
        if "running" in message:
            running, start = tuple(message["running"]), time.perf_counter()
        elif "result" in message:
            yield gate_from_json(message["result"])
        else:
            return
    code = process.wait()
    said = (
        f"it takes longer than {timeout_s:.0f} s"
        if late.is_set()
        else f"the process ended (exit code {code})"
    )
    stderr.seek(0)
    last = [line.strip() for line in stderr if line.strip()][-1:]
    said += f": {last[0][:200]}" if last and not late.is_set() else ""
    causes = ("out of memory (exit code -9)", "os._exit or a crash in compiled code")
    hung = ("a loader that waits for something", "much slow work in a hook")
    verdict = failed(said, *(hung if late.is_set() else causes))
    yield GateResult(*running, verdict, time.perf_counter() - start)


def _line_within(
    process: subprocess.Popen[str], lines: IO[str], timeout_s: float, late: threading.Event
) -> str:
    """The next line; empty at the end, which a timer brings about when it takes too long."""

    def end() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        return lines.readline()
    finally:
        timer.cancel()


# --- inside the process --------------------------------------------------------------------------------
def serve() -> None:
    """Answer the request on stdin; see the module's docstring."""
    job, threads = sys.argv[1], int(sys.argv[2])
    request = CheckRequest.from_json(json.loads(sys.stdin.readline()))
    out = sys.stdout

    def say(**message: Any) -> None:
        out.write(f"\n{_MARK}{json.dumps(message, allow_nan=False)}\n")
        out.flush()

    try:
        from orchestrator.engine.entry import load_entry

        entry = load_entry(request.entrypoint, Path(request.root), request.datamodule)
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        say(error=said, file=frame.filename, line=frame.lineno)
        return
    import torch

    torch.set_num_threads(threads)
    for result in _climb(job, entry, request, lambda number, title: say(running=[number, title])):
        say(result=finite(asdict(result)))
    say(done=True)


def _climb(
    job: str, entry: Entry, request: CheckRequest, announce: Callable[[str, str], None]
) -> Iterator[GateResult]:
    from orchestrator.engine.warmcheck import warm_equals_cold
    from orchestrator.training.gates.ladder import GATES, LR_FIND, climb

    gates = LR_FIND if job == "lr-find" else GATES
    instead: dict[str, Gate] = {"A11": lambda _: warm_equals_cold(request)}
    bench, without = None, {}
    if entry.kind == "lightning":
        from orchestrator.training.gates.lightning import INSTEAD, WITHOUT, lightning_bench
        from orchestrator.training.lightning.fit import Lit

        bench, without = lightning_bench(Lit(entry.target, entry.data), request), WITHOUT
        instead |= INSTEAD
    ladder = tuple(
        (number, title, instead.get(number, gate))
        for number, title, gate in gates
        if not request.only or number in request.only
    )
    return climb(entry.target, request, announce, ladder, bench, without)


def finite(value: Any) -> Any:
    """Without NaN and infinity, which JSON lacks: they become the largest number."""
    if isinstance(value, float) and not abs(value) < float("inf"):
        return sys.float_info.max
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
