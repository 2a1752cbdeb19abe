"""The two streams of the command line: data on stdout, progress and faults on stderr.

Rich is imported on first use only: `orchestrate --help` must stay quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import InputError, OrchestratorError
from orchestrator.reporting.streams import Shown
from orchestrator.study.visible import shortened, visible_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from orchestrator.reporting.screen import Screen

PLAIN_WIDTH = 200
"""Columns of a table when no terminal says how many there are: wide enough that nothing is wrapped."""


def data(text: str) -> None:
    """Print a line for stdout."""
    Shown.over(sys.stdout).write(f"{shortened(text)}\n")


def document(text: str) -> None:
    """Print a whole document on stdout, in UTF-8."""
    Shown.over(sys.stdout).document(f"{text}\n")


def data_json(value: Any) -> None:
    """One JSON document on stdout; numbers that JSON does not know become strings."""
    from orchestrator.record.jsonlines import to_json

    document(visible_json(json.dumps(json.loads(to_json(value)), indent=2, ensure_ascii=False)))


def json_line(value: Any) -> None:
    """One JSON document on one line of stdout, as in `data_json`."""
    from orchestrator.record.jsonlines import to_json

    document(visible_json(to_json(value).decode()))


def unheard() -> bool:
    """Whether nobody reads stdout any more."""
    return Shown.over(sys.stdout).lost is not None


def progress(text: str) -> None:
    """Print a line for stderr, shown at once."""
    shown = Shown.over(sys.stderr)
    shown.write(f"{shortened(text)}\n")
    shown.flush()


def screen() -> Screen:
    """Return a rich console on stdout; plain, unwrapped text when it is no terminal."""
    from orchestrator.reporting.screen import Screen

    return Screen(sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def show(*parts: RenderableType) -> None:
    """Rich renderables on stdout, one below the other; without the padding of tables where no terminal is."""
    there = screen()
    if there.is_terminal:
        there.print(*parts, sep="\n", markup=False)
        return
    with there.capture() as captured:
        there.print(*parts, sep="\n", markup=False)
    data("\n".join(line.rstrip() for line in captured.get().splitlines()))


def table(
    headings: Iterable[str],
    rows: Iterable[Iterable[str]],
    right: Container[int] = (),
    *,
    wrap: bool = True,
    title: str | None = None,
) -> Table:
    """Lay out a table without lines; `right`: the columns with numbers, counted from 0."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, title=title)
    for number, heading in enumerate(headings):
        justify: Literal["right", "left"] = "right" if number in right else "left"
        made.add_column(heading, justify=justify, no_wrap=not wrap, overflow="fold" if wrap else "ellipsis")
    for row in rows:
        made.add_row(*row)
    return made


def show_error(error: OrchestratorError, *, as_json: bool) -> None:
    """One line per fault on stderr, with its detail below; with `as_json` a document on stdout besides."""
    details = [fault.detail for fault in error.faults] if isinstance(error, InputError) else [()]
    for line, detail in zip(error_lines(error), details, strict=True):
        progress("\n".join([f"error: {line}", *(f"    {below}" for below in detail)]))
    if as_json:
        data_json(error_document(error))


def error_lines(error: OrchestratorError) -> list[str]:
    """One line per fault."""
    if isinstance(error, InputError):
        return [" ".join(str(fault).split()) for fault in error.faults]
    return [" ".join(str(error).split()) or type(error).__name__]


def error_document(error: OrchestratorError) -> dict[str, Any]:
    """`{error, exit_code, faults}`: what a program gets to see of an error."""
    faults: list[dict[str, Any]] = [{"message": str(error)}]
    if isinstance(error, InputError):
        # a detail only where there is one
        faults = [{key: item for key, item in asdict(fault).items() if item != ()} for fault in error.faults]
    return {"error": type(error).__name__, "exit_code": int(error.exit_code), "faults": faults}
