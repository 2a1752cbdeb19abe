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
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.engine.attempts import described
from orchestrator.errors import Fault, StudyError
from orchestrator.study.entrypoint import line_of
from orchestrator.study.visible import visible
from orchestrator.training.gates.results import CheckRequest, GateResult, GateVerdict, failed, gate_from_json

if TYPE_CHECKING:
    from orchestrator.engine.runners import Runner
    from orchestrator.training.gates.bench import Bench
    from orchestrator.training.gates.ladder import Gate

GATE_TIMEOUT_S = 300.0
"""A gate that takes longer is taken to hang."""
_MARK = "orchestrator-check:"

Job = Literal["import", "check", "lr-find", "profile"]


def run_gates(
    request: CheckRequest, job: Job = "check", *, threads: int = 1, timeout_s: float = GATE_TIMEOUT_S
) -> Iterator[GateResult]:
    """Results as they come. A process that dies or hangs is the failure of the gate that was running.

    Raises `StudyError` when the entrypoint does not import.
    """
    process = CheckProcess(request, job, threads=threads)
    try:
        yield from process.results(timeout_s)
    finally:
        process.end()


class CheckProcess:
    """Starts at once; `results` reads the answers as they come."""

    def __init__(self, request: CheckRequest, job: Job = "check", *, threads: int = 1) -> None:
        program = "from orchestrator.engine.checks._checkprocess import serve; serve()"
        self._request = request
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, job, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is the command's to handle
        )
        self.device: str | None = None
        """Where the gates ran ("cpu", "cuda"), once all of them have answered."""
        self._ended = False

    def kill(self) -> None:
        """End it and whatever it has started; whoever reads `results` finds them at their end."""
        if not self._ended:  # afterwards the number may be another process's
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it if it still runs, and close what belongs to it. Nobody may read `results` any more."""
        if self._ended:
            return
        self.kill()
        self._ended = True
        self._process.wait()
        self._stderr.close()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]

    def results(
        self, timeout_s: float = GATE_TIMEOUT_S, imported: Callable[[], None] = lambda: None
    ) -> Iterator[GateResult]:
        """See `run_gates`. `imported` is called once the entrypoint is, before the first gate is asked."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: the empty answer tells
            self._process.stdin.write(json.dumps(asdict(self._request), default=str) + "\n")
            self._process.stdin.flush()
        running: tuple[str, str] | None = None
        start = time.perf_counter()
        late = threading.Event()
        while line := self._line_within(timeout_s, late):
            if not line.startswith(_MARK):
                continue
            message = json.loads(line.removeprefix(_MARK))
            if "refused" in message:
                raise self._fault(message["refused"], None, message["file"], message["line"])
            if "error" in message:
                hint = f"mend it, and try `python -c 'import {self._request.code_name.partition(':')[0]}'`"
                said = f"the entrypoint does not import: {message['error']}"
                raise self._fault(said, hint, message["file"], message["line"])
            if "imported" in message:
                imported()
            elif "running" in message:
                number, title = message["running"]
                running, start = (number, title), time.perf_counter()
            elif "result" in message:
                yield gate_from_json(message["result"])
            else:
                self.device = message["done"]
                return
        if running is None:
            if late.is_set():
                hint = "move slow work out of the module's top level, into the function or the Task"
                raise self._fault(f"importing the entrypoint takes longer than {timeout_s:.0f} s", hint)
            code = self._process.wait()
            raise self._fault(f"importing the entrypoint ended the process (exit code {code})")
        yield GateResult(*running, self._how_it_ended(timeout_s, late), time.perf_counter() - start)

    def _fault(
        self, said: str, hint: str | None = None, file: str | None = None, line: int | None = None
    ) -> StudyError:
        """Return what is wrong with the entrypoint."""
        return StudyError(Fault(said, file, line, "entrypoint", self._request.code_name, hint))

    def _how_it_ended(self, timeout_s: float, late: threading.Event) -> GateVerdict:
        code = self._process.wait()
        if late.is_set():
            said = f"it takes longer than {timeout_s:.0f} s"
            return failed(said, "a loader that waits for something", "much slow work in a hook")
        self._stderr.seek(0)
        last = [line.strip() for line in self._stderr if line.strip()][-1:]
        said = f"the process ended (exit code {code})" + (f": {last[0][:200]}" if last else "")
        return failed(said, "out of memory (exit code -9)", "os._exit or a crash in compiled code")

    def _line_within(self, timeout_s: float, late: threading.Event) -> str:
        """Return the next line; empty at the end, which a timer brings about when it takes too long."""

        def end() -> None:
            late.set()
            self.kill()

        assert self._process.stdout is not None
        timer = threading.Timer(timeout_s, end)
        timer.start()
        try:
            return self._process.stdout.readline()
        finally:
            timer.cancel()


# --- inside the process --------------------------------------------------------------------------------
def serve() -> None:
    """Answer the request on stdin."""
    job, threads = sys.argv[1], int(sys.argv[2])
    request = CheckRequest.from_json(json.loads(sys.stdin.readline()))
    out = sys.stdout

    def say(**message: Any) -> None:
        out.write(f"\n{_MARK}{json.dumps(message, allow_nan=False)}\n")
        out.flush()

    from orchestrator.engine.runners import Code, NoEntrypoint, runner_of

    try:
        runner = runner_of(Code(request.entrypoint, Path(request.root), request.datamodule))
    except BaseException as error:
        refused = isinstance(error, NoEntrypoint)
        file, line = _place(request, None if refused else error)
        if refused:
            say(refused=visible(str(error)), file=file, line=line)
        else:
            say(error=described(error)[0].partition("\n")[0], file=file, line=line)
        return
    say(imported=True)
    bench = None if job == "import" else runner.bench(request, {})
    if bench is None or (request.brief and isinstance(bench, str)):
        say(done=None)  # nothing to ask, and nothing to load torch for
        return
    import torch

    torch.set_num_threads(threads)
    for result in _climb(job, runner, bench, request, lambda number, title: say(running=[number, title])):
        say(result=finite(asdict(result)))
    say(done="cuda" if torch.cuda.is_available() else "cpu")


def _place(request: CheckRequest, error: BaseException | None) -> tuple[str | None, int | None]:
    """Return file and line of the user's code: where the error was raised, else where the name is bound."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    trace = traceback.extract_tb(error.__traceback__) if error else []
    raised = [frame for frame in trace if _is_users(frame.filename)]
    if raised:
        return raised[-1].filename, raised[-1].lineno
    module, _, name = request.code_name.partition(":")
    file = getattr(sys.modules.get(module), "__file__", None)
    return file, None if file is None else line_of(Path(file), name)


def _is_users(file: str) -> bool:
    """Whether a frame is neither ours nor of what imports modules."""
    ours = Path(__file__).parents[2]
    return not file.startswith("<") and not Path(file).is_relative_to(ours) and "/importlib/" not in file


def _climb(
    job: str,
    runner: Runner,
    bench: Bench | str,
    request: CheckRequest,
    announce: Callable[[str, str], None],
) -> Iterator[GateResult]:
    from orchestrator.engine.checks._warmcheck import warm_equals_cold
    from orchestrator.training.gates.ladder import GATES, LR_FIND, PROFILE, climb

    gates = {"profile": PROFILE if request.trace else PROFILE[:-1], "lr-find": LR_FIND}.get(job, GATES)
    instead: dict[str, Gate] = {"A11": lambda _: warm_equals_cold(request), **runner.gates()}
    ladder = tuple(
        (number, title, instead.get(number, gate))
        for number, title, gate in gates
        if not request.only or number in request.only
    )
    return climb(bench, announce, ladder, runner.without)


def finite(value: Any) -> Any:
    """Plain data that JSON and every page can hold: NaN and infinity become the largest number."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float) and not abs(value) < float("inf"):
        return sys.float_info.max
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
