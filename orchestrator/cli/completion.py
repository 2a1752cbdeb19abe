"""Completion in a shell: its script, and the names of recorded studies, their arms and seeds.

A key press must wait for nothing and show no fault: what is not a small file of this machine is left out.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import console

VARIABLE = "_ORCHESTRATE_COMPLETE"
"""Set by the script: the command then answers with what may come next."""
MOST_BYTES = 32 << 20
_INERT = re.compile(r"[\w.=+@%-]+", re.ASCII)
"""What a shell takes as it is: names come from files that anybody may have written."""


class Shell(StrEnum):
    """Shells that have a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def command(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the script that completes this command in a shell.

    Verbs, options, and names of studies, arms and seeds. For bash: `orchestrate completion bash >
    ~/.local/share/bash-completion/completions/orchestrate`; docs/terminal.md has the other shells.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it exports nothing

    told = {"prog_name": "orchestrate", "complete_var": VARIABLE, "shell": shell.value}
    console.document(get_completion_script(**told))


def prepare() -> None:
    """Let the command answer a shell that asks what may come next."""
    if os.environ.get(VARIABLE):
        from typer.completion import completion_init  # type: ignore[attr-defined]  # as above

        completion_init()


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the studies that are recorded below the storage of the line so far."""
    return sorted(_beginning(incomplete, _recorded(ctx)))


def arms(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the arms of the study of the line so far, or of the only one that is recorded."""
    return _beginning(incomplete, (arm.get("arm") for arm in _listed(_plan(ctx), "arms")))


def seeds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the seeds of the arm of the line so far."""
    arm = ctx.params.get("arm")
    cells = _listed(_plan(ctx), "cells")
    return _beginning(incomplete, (cell.get("seed") for cell in cells if cell.get("arm") == arm))


def _beginning(incomplete: str, names: Iterable[object]) -> list[str]:
    found = dict.fromkeys(map(str, names))
    return [name for name in found if name.startswith(incomplete) and _INERT.fullmatch(name)]


def _recorded(ctx: typer.Context) -> Iterator[str]:
    storage = Path(str(ctx.params.get("storage") or "runs"))
    with suppress(OSError, ValueError):
        for entry in os.scandir(storage):
            if (storage / entry.name / "plan.json").is_file():
                yield entry.name


def _plan(ctx: typer.Context) -> dict[str, Any]:
    """Return plan.json of the study that is meant; nothing where it cannot be told, or not be read."""
    named = ctx.params.get("study")
    if named is None:
        there = list(_recorded(ctx))
        named = there[0] if len(there) == 1 else None
    storage = Path(str(ctx.params.get("storage") or "runs"))
    for place in [] if named is None else [Path(str(named)), storage / str(named)]:
        with suppress(OSError, ValueError, RecursionError):
            file = place / "plan.json"
            if file.is_file() and file.stat().st_size <= MOST_BYTES:
                found = json.loads(file.read_bytes())
                return found if isinstance(found, dict) else {}
    return {}


def _listed(plan: dict[str, Any], part: str) -> list[dict[str, Any]]:
    listed = plan.get(part)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
