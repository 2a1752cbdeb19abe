"""The command: a function per verb. Only light imports here and at the top of the verbs' modules.

Whatever a verb needs of pydantic, pyarrow, torch or ray it imports when it runs, so that `orchestrate --help`
answers at once.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import (
    ablate,
    analyse,
    clusters,
    completion,
    console,
    doctor,
    gates,
    init,
    logs,
    plan,
    report,
    retry,
    serve,
    simulate,
    standing,
    studyfile,
    tensorboard,
    trace,
)
from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.reporting.streams import shown_streams

EPILOG = (
    "Exit codes: 0 every cell is answered; 1 some failed; 2 bad input; 3 budget reached; "
    "4 cluster, storage or stdout unavailable, a record that cannot be read, or the study is held by another "
    "driver; 130 interrupted; "
    "143 terminated."
)

app = typer.Typer(
    name="orchestrate",
    help="Ablation studies on Ray: which part of the recipe matters?",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

VERBS: dict[str, Callable[..., None]] = {
    "init": init.command,
    "validate": studyfile.validate,
    "check": gates.check,
    "lr-find": gates.lr_find,
    "profile": gates.profile,
    "plan": plan.command,
    "ablate": ablate.command,
    "status": standing.status,
    "watch": standing.watch,
    "retry": retry.command,
    "logs": logs.command,
    "stop": standing.stop,
    "report": report.command,
    "analyse": analyse.command,
    "tensorboard": tensorboard.command,
    "trace": trace.command,
    "serve": serve.command,
    "simulate": simulate.command,
    "schema": studyfile.schema,
    "doctor": doctor.command,
    "up": clusters.up,
    "down": clusters.down,
    "completion": completion.command,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.data(f"orchestrate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has answered


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Errors raised on purpose become one line per fault.

    A reader that has gone (`| head`) changes nothing. What could not be written otherwise is told, and is the
    exit code of a verb that had nothing else to do; that of `ablate` speaks of the study.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with shown_streams() as out, _leaving_cleanly():
        code = _answer(words)
        out.flush()
        if isinstance(out.lost, BrokenPipeError) or out.lost is None:
            return code
        console.progress(
            f"error: stdout cannot be written: {getattr(out.lost, 'strerror', None) or out.lost}"
        )
        return int(ExitCode.UNAVAILABLE) if code == ExitCode.DONE and words[:1] != ["ablate"] else code


@cache
def _command() -> Callable[..., None]:
    return typer.main.get_command(app)


def _answer(words: list[str]) -> int:
    completion.prepare()
    try:
        _command()(words, prog_name="orchestrate")
    except OrchestratorError as error:
        console.show_error(error, as_json="--json" in words)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception:  # a bug of ours; its text is escaped like any other
        traceback.print_exc()
        return int(ExitCode.FAILED)
    return int(ExitCode.DONE)


@contextmanager
def _leaving_cleanly() -> Iterator[None]:
    """Unwind on SIGTERM, and on SIGHUP, of a terminal that was closed, where `nohup` does not ignore it."""

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(int(ExitCode.TERMINATED))

    ours = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL
    ]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
