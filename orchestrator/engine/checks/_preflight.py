"""The cheap gates of `check` before a study spends anything, in a process of their own while Ray starts.

Asked when a study is new, or its code or arms have changed: `check.json` in the run directory remembers of
which code and config the answers are.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter

from orchestrator.engine.checks._checkprocess import CheckProcess, Job
from orchestrator.errors import Fault, StudyError, UnreadableRecord
from orchestrator.record.layout import StudyPaths
from orchestrator.record.reading import read_json
from orchestrator.record.storage import Storage
from orchestrator.training.gates.results import CHEAP, CheckRequest, GateResult

PROBE_TIMEOUT_S = 120.0
"""Seconds that an import may take."""
LIMIT_S = 60.0
"""Seconds from the start after which a study does not wait any longer; what was not answered is said."""
NO_BUG = ("A9",)
"""Slow is not wrong: a failure of these is said and does not stop a study."""


@dataclass(frozen=True)
class Findings:
    """Answers in order; `cut_off` names the gates that would have taken too long.

    `device`: where they were asked, None where the process did not live to say so.
    """

    gates: tuple[GateResult, ...]
    cut_off: tuple[str, ...]
    device: str | None
    wall_s: float

    def bugs(self) -> list[GateResult]:
        """Failures on which no GPU time should be spent."""
        return [gate for gate in self.gates if gate.state == "fail" and gate.gate not in NO_BUG]

    def remarks(self) -> list[str]:
        """Lines about a study that goes on; none about an entrypoint that cannot be asked."""
        answered = [gate for gate in self.gates if gate.state == "pass"]
        lines = [
            f"check {gate.gate}, {gate.title}: {gate.verdict.evidence}"
            for gate in self.gates
            if gate.state == "fail"
        ]
        if answered:
            names = ", ".join(gate.gate for gate in answered)
            lines.insert(0, f"checked before the start: {names} pass ({self.wall_s:.1f} s)")
        if self.cut_off:
            lines.append(
                f"not checked: {', '.join(self.cut_off)} would have taken more than {LIMIT_S:.0f} s; "
                "orchestrate check takes the time"
            )
        return lines


class Preflight:
    """Starts at once. `result` waits for the import, `findings` for the gates, if `job` is to ask them."""

    def __init__(self, request: CheckRequest, job: Job = "check", *, threads: int = 1) -> None:
        self._start, self.job = time.monotonic(), job
        self._process = CheckProcess(replace(request, only=CHEAP, brief=True), job, threads=threads)
        self._gates: list[GateResult] = []
        self._error: BaseException | None = None
        self._imported = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="preflight", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        try:
            for gate in self._process.results(PROBE_TIMEOUT_S, self._imported.set):
                self._gates.append(gate)
        except BaseException as error:  # raised again in the thread that asks
            self._error = error
        finally:
            self._imported.set()

    def result(self) -> None:
        """Wait until the entrypoint is imported. Raises `StudyError` when it cannot be, or is none."""
        self._imported.wait()
        if self._error is not None:
            raise self._error

    def findings(self) -> Findings:
        """Wait for the gates, at most until `LIMIT_S` after the start."""
        self._thread.join(max(0.0, self._start + LIMIT_S - time.monotonic()))
        late = self._thread.is_alive()
        gates = tuple(self._gates)  # before the end of the process becomes the failure of a gate
        self.end()
        if self._error is not None:
            raise self._error
        answered = {gate.gate for gate in gates}
        cut_off = tuple(number for number in CHEAP if late and number not in answered)
        return Findings(gates, cut_off, self._process.device, time.monotonic() - self._start)

    def end(self) -> None:
        """Stop asking."""
        self._process.kill()
        self._thread.join()
        self._process.end()


def refuse_bugs(findings: Findings, config: str, *, on_gpus: bool) -> None:
    """Raise `StudyError` with the evidence of every gate that found a bug, and how to run the study anyway.

    Gates that were asked without a GPU say little of workers that have one: then nothing is refused.
    """
    bugs = findings.bugs()
    if not bugs or (on_gpus and findings.device != "cuda"):
        return
    faults = [
        Fault(
            gate.verdict.evidence,
            field=f"check {gate.gate}, {gate.title}",
            hint=f"look at: {gate.verdict.causes[0]}" if gate.verdict.causes else None,
        )
        for gate in bugs
    ]
    more = f"orchestrate check --config {config} shows more; --no-check to run it anyway"
    raise StudyError([*faults, Fault("nothing was started: the recipe has a fault", hint=more)])


def fingerprint(request: CheckRequest, code_hash: str) -> str:
    """Return what the answers depend on."""
    text = json.dumps([asdict(request), code_hash], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Checked:
    """What check.json has to tell a later start."""

    fingerprint: str | None = None


_CHECKED = TypeAdapter(_Checked)


def remembered(storage: Storage, paths: StudyPaths) -> str | None:
    """Return the fingerprint of what was checked last, or run without a check."""
    try:
        return read_json(storage, paths.check_json, _CHECKED).fingerprint
    except (FileNotFoundError, UnreadableRecord):
        return None


def remember(storage: Storage, paths: StudyPaths, of: str, findings: Findings | None) -> None:
    """Write `check.json`; without findings for a study that was run with `--no-check`."""
    answers: dict[str, Any] = {"asked": findings is not None, "fingerprint": of}
    if findings is not None:
        answers |= {"cut_off": findings.cut_off, "gates": [asdict(gate) for gate in findings.gates]}
    storage.write_atomic(paths.check_json, json.dumps(answers, indent=1, ensure_ascii=False) + "\n")
