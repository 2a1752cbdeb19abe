"""What is said of an entrypoint that does not import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import Fault, StudyError


def import_error(entrypoint: str, answer: Mapping[str, Any]) -> StudyError:
    """Return what a process that tried says of it: `{error, file, line}`, or `{refused}` when it is none."""
    if "refused" in answer:
        return StudyError(Fault(answer["refused"], field="entrypoint", value=entrypoint))
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
    """Return the process that tried is gone."""
    said = f"importing the entrypoint ended the process (exit code {code})"
    return StudyError(Fault(said, field="entrypoint", value=entrypoint))


def import_slow(entrypoint: str, limit_s: float) -> StudyError:
    """Return the process that tried is still at it."""
    return StudyError(
        Fault(
            f"importing the entrypoint takes longer than {limit_s:.0f} s",
            field="entrypoint",
            value=entrypoint,
            hint="move slow work out of the module's top level, into the function or the Task",
        )
    )
