"""Does the entrypoint import? Asked in a process of its own, before Ray is started or anything is written.

User code never runs in the command's own process: it may change global state, or not return.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import Fault, StudyError

PROBE_TIMEOUT_S = 120.0
_MARK = "orchestrator-probe:"
_PROGRAM = f"""
import json, sys, traceback
from pathlib import Path
sys.path.insert(0, sys.argv[2])
try:
    from orchestrator.engine.runners import Code, runner_of
    answer = {{"noun": runner_of(Code(sys.argv[1], Path(sys.argv[2]), sys.argv[3] or None)).noun}}
except BaseException as error:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    answer = {{
        "error": "".join(traceback.format_exception_only(error)).strip().splitlines()[-1],
        "file": frame.filename, "line": frame.lineno,
    }}
print("{_MARK}" + json.dumps(answer), flush=True)
"""


def import_error(entrypoint: str, answer: Mapping[str, Any]) -> StudyError:
    """What a process that tried says of it: `{error, file, line}`."""
    return StudyError(
        Fault(
            f"the entrypoint does not import: {answer['error']}",
            file=answer["file"],
            line=answer["line"],
            field="entrypoint",
            value=entrypoint,
            hint=f"mend it, and try `python -c 'import {entrypoint.partition(':')[0]}'`",
        )
    )


def import_ended(entrypoint: str, code: int) -> StudyError:
    """The process that tried is gone."""
    said = f"importing the entrypoint ended the process (exit code {code})"
    return StudyError(Fault(said, field="entrypoint", value=entrypoint))


def import_slow(entrypoint: str, limit_s: float) -> StudyError:
    """The process that tried is still at it."""
    return StudyError(
        Fault(
            f"importing the entrypoint takes longer than {limit_s:.0f} s",
            field="entrypoint",
            value=entrypoint,
            hint="move slow work out of the module's top level, into the function or the Task",
        )
    )


class EntrypointProbe:
    """Starts at once; `result` waits for the answer."""

    def __init__(self, entrypoint: str, root: Path, datamodule: str | None = None) -> None:
        self._entrypoint = entrypoint
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, entrypoint, str(root), datamodule or ""],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is the command's to handle
        )

    def result(self) -> str:
        """What the entrypoint is, in words.

        Raises:
            StudyError: it does not import, or it is none of these.
        """
        try:
            text, _ = self._process.communicate(timeout=PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.end()
            raise import_slow(self._entrypoint, PROBE_TIMEOUT_S) from None
        lines = [line for line in text.splitlines() if line.startswith(_MARK)]
        if not lines:
            raise import_ended(self._entrypoint, self._process.returncode)
        answer = json.loads(lines[-1].removeprefix(_MARK))
        if "error" in answer:
            raise import_error(self._entrypoint, answer)
        return str(answer["noun"])

    def end(self) -> None:
        """Stop asking."""
        self._process.kill()
        self._process.wait()
