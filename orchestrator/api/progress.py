"""What a run shows: a table in a terminal or a notebook, lines elsewhere.

All are fed with whole snapshots, from a background thread; neither asks a clock.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.decide.states import TrialState
from orchestrator.engine.running import Listener, Quiet
from orchestrator.engine.status import Snapshot
from orchestrator.record.state import TrialRecord
from orchestrator.reporting import fragments, plain
from orchestrator.reporting.screen import Screen
from orchestrator.reporting.standing import GLYPHS
from orchestrator.reporting.streams import Shown
from orchestrator.study.visible import shortened

STARTING = "importing the entrypoint, then starting Ray ..."
SUMMARY_EVERY_S = 60.0
SHOWN_NOTES = 8
_STYLES = {
    TrialState.PENDING: "dim",
    TrialState.RUNNING: "cyan",
    TrialState.DONE: "green",
    TrialState.STOPPED: "yellow",
    TrialState.DIVERGED: "magenta",
    TrialState.FAILED: "bold red",
    TrialState.CANCELLED: "dim",
    TrialState.SKIPPED: "dim",
}
_CELL_WIDTH = 10
_ARM_WIDTH = 24
_LINES_AROUND = 9


Progress = Listener | Literal["auto", "rich", "notebook", "plain", "none"]
"""A listener of one's own, or which of these to use."""


@contextmanager
def shown(progress: Progress = "auto", starting: str = STARTING) -> Iterator[Listener]:
    """Provide the listener that is wanted, open while the block lasts; `starting` is what it shows first.

    `auto`: what fits where this process runs.
    """
    if progress == "auto":
        progress = "notebook" if _in_notebook() else "rich" if sys.stderr.isatty() else "plain"
    if progress == "none":
        yield Quiet()
    elif progress == "plain":
        lines = PlainLines()
        lines.note(starting)
        yield lines
    elif progress == "notebook":
        yield NotebookTable(starting)
    elif progress == "rich":
        with LiveTable(Screen(sys.stderr), starting) as table:
            yield table
    else:
        yield progress


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code: it can show a table and draw it again."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class LiveTable:
    """Arms × seeds, redrawn in place; notes scroll by above it."""

    def __init__(self, screen: Console, starting: str = STARTING) -> None:
        self._live = Live(Text(starting), console=screen, auto_refresh=False)

    def update(self, snapshot: Snapshot) -> None:
        size = self._live.console.size
        self._live.update(draw(snapshot, size.width, size.height), refresh=True)

    def note(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class NotebookTable:
    """The same as one table below a notebook's cell, drawn again when something has changed."""

    def __init__(self, starting: str = STARTING) -> None:
        from IPython import display

        screen: Any = display  # IPython has no types
        self._html = screen.HTML
        self._handle = screen.display(self._html(fragments.line(starting)), display_id=True)
        self._page, self._notes = fragments.line(starting), list[str]()

    def update(self, snapshot: Snapshot) -> None:
        """Draw the table when it differs from the one that is there."""
        page = table_html(snapshot)
        if page != self._page:
            self._page = page
            self._draw()

    def note(self, text: str) -> None:
        """Print a line below the table."""
        self._notes.append(text)
        self._draw()

    def _draw(self) -> None:
        notes = (fragments.line(note, quiet=True) for note in self._notes[-SHOWN_NOTES:])
        self._handle.update(self._html(fragments.block(self._page, *notes)))


class PlainLines:
    """A line for every change of a cell, and a summary once a minute: for logs and pipes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[TrialState, int]] = {}
        self._next_summary_s = SUMMARY_EVERY_S

    def update(self, snapshot: Snapshot) -> None:
        first = not self._seen
        for view in snapshot.cells:
            now = (view.state, view.attempts)
            before, self._seen[view.cell] = self._seen.get(view.cell), now
            # what earlier runs of the command have answered is no news; what never ran is in a note of its
            # own
            old = first and view.state is not TrialState.RUNNING
            never_ran = view.state in (TrialState.SKIPPED, TrialState.PENDING) and not view.attempts
            if now != before and not old and not never_ran:
                self._line(snapshot, f"{view.name}: {_words(snapshot, view)}")
        if first or snapshot.elapsed_s >= self._next_summary_s:
            self._next_summary_s = snapshot.elapsed_s + SUMMARY_EVERY_S
            self._line(snapshot, summary(snapshot))

    def note(self, text: str) -> None:
        """Print a line, shown at once."""
        shown = Shown.over(sys.stderr)
        shown.write(f"{shortened(text)}\n")
        shown.flush()

    def _line(self, snapshot: Snapshot, line: str) -> None:
        self.note(f"[{plain.duration(snapshot.elapsed_s)}] {line}")


def summary(snapshot: Snapshot) -> str:
    """One line: how far, how long still, what was spent."""
    answered = sum(view.state.answered for view in snapshot.cells)
    skipped = sum(view.state is TrialState.SKIPPED for view in snapshot.cells)
    of_them = f" ({skipped} of them skipped)" if skipped else ""
    parts = [
        f"{answered}/{len(snapshot.cells)} cells answered{of_them}",
        "1 slot" if snapshot.lanes == 1 else f"{snapshot.lanes} slots",
        f"{plain.duration(snapshot.elapsed_s)} gone",
    ]
    if snapshot.left is not None:
        parts.append(f"{plain.between(snapshot.left.low_s, snapshot.left.high_s)} left")
    if snapshot.spent_gpu_h:
        parts.append(f"{snapshot.spent_gpu_h:.2f} GPU h spent")
    return ", ".join(parts)


def table_html(snapshot: Snapshot) -> str:
    """Return the arms with a glyph per trial, and the summary, as HTML."""
    rows = []
    for arm, views in _by_arm(snapshot).items():
        glyphs, mean = _narrow(views)
        rows.append((arm, glyphs.plain, mean.plain))
    return fragments.block(
        fragments.title(snapshot.study, f"{snapshot.metric} ({snapshot.mode})"),
        fragments.table(("arm", "seeds", _mean_of(snapshot)), rows, (2,)),
        fragments.line(plain.legend(snapshot.counts()), quiet=True),
        fragments.line(summary(snapshot), quiet=True),
    )


def _by_arm(snapshot: Snapshot) -> dict[str, list[TrialRecord]]:
    by_arm: dict[str, list[TrialRecord]] = {arm: [] for arm in snapshot.arms}
    for view in snapshot.cells:
        by_arm.setdefault(view.arm, []).append(view)
    return by_arm


def draw(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """Return the live table for a terminal of this size, in characters."""
    by_arm = _by_arm(snapshot)
    seeds = sorted({view.seed for view in snapshot.cells})
    one_phase = len({view.phase for view in snapshot.cells}) == 1 and seeds
    roomy = one_phase and _ARM_WIDTH + _CELL_WIDTH * len(seeds) <= width
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("arm", overflow="ellipsis", no_wrap=True, max_width=_ARM_WIDTH)
    if roomy:
        for seed in seeds:
            table.add_column(f"seed {seed}", no_wrap=True, min_width=_CELL_WIDTH - 1)
    else:
        table.add_column("seeds", overflow="fold")
        table.add_column(_mean_of(snapshot), justify="right", no_wrap=True)
    shown, hidden = _fitting(by_arm, max(1, height - _LINES_AROUND))
    for arm in shown:
        views = by_arm[arm]
        table.add_row(Text(arm), *(_wide(snapshot, views, seeds) if roomy else _narrow(views)))
    parts: list[RenderableType] = [
        Text(f"{snapshot.study}  {snapshot.metric} ({snapshot.mode})", style="bold"),
        table,
    ]
    if hidden:
        parts.append(Text(f"and {hidden} more arms", style="dim"))
    parts.append(Text(plain.legend(snapshot.counts()), style="dim"))
    parts.append(Text(summary(snapshot)))
    parts += [Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in snapshot.notes[-2:]]
    return Group(*parts)


def _fitting(by_arm: dict[str, list[TrialRecord]], rows: int) -> tuple[list[str], int]:
    """Return the arms to show in their order: all, or first those where something goes on."""
    if len(by_arm) <= rows:
        return list(by_arm), 0
    busy = [arm for arm, views in by_arm.items() if any(view.state is TrialState.RUNNING for view in views)]
    quiet = [arm for arm in by_arm if arm not in busy]
    chosen = {*busy[:rows], *quiet[: max(0, rows - len(busy))]}
    return [arm for arm in by_arm if arm in chosen], len(by_arm) - len(chosen)


def _wide(snapshot: Snapshot, views: Sequence[TrialRecord], seeds: Sequence[int]) -> list[Text]:
    """One entry per seed: glyph and last metric, or how far a running trial is."""
    by_seed = {view.seed: view for view in views}
    entries = []
    for seed in seeds:
        view = by_seed.get(seed)
        if view is None:
            entries.append(Text())
            continue
        words = plain.number(view.value) if view.value is not None else ""
        if view.state is TrialState.RUNNING:
            words = f"{(view.length or 0) / snapshot.max_length:.0%} {words}"
        entries.append(Text(f"{GLYPHS[view.state]} {words}".rstrip(), style=_STYLES[view.state]))
    return entries


def _narrow(views: Sequence[TrialRecord]) -> list[Text]:
    """All cells as glyphs, phase by phase, and the mean of the finished values of the last phase."""
    glyphs = Text()
    phases = list(dict.fromkeys(view.phase for view in views))
    for phase in phases:
        glyphs.append(f"{' ' if glyphs else ''}{phase} " if len(phases) > 1 else "", style="dim")
        for view in (view for view in views if view.phase == phase):
            glyphs.append(GLYPHS[view.state], style=_STYLES[view.state])
    last = [view for view in views if view.phase == phases[-1] and view.sample is None]
    values = [view.value for view in last if view.state is TrialState.DONE and view.value is not None]
    return [glyphs, Text(plain.number(sum(values) / len(values)) if values else "")]


def _mean_of(snapshot: Snapshot) -> str:
    """Return what the numbers of the narrow table are: `mean loss (retuned)`."""
    phases = list(dict.fromkeys(view.phase for view in snapshot.cells))
    return f"mean {snapshot.claimed or snapshot.metric}" + (f" ({phases[-1]})" if len(phases) > 1 else "")


def _words(snapshot: Snapshot, view: TrialRecord) -> str:
    words = str(view.state)
    if view.state is TrialState.RUNNING and view.attempts > 1:
        words += f", attempt {view.attempts}"
    if view.state.terminal and view.length is not None:
        words += f" at {plain.length(view.length, snapshot.unit)}"
    if view.state.terminal and view.value is not None:
        claims = view.state is TrialState.DONE and view.sample is None
        metric = snapshot.claimed if claims and snapshot.claimed else snapshot.metric
        words += f", {metric} {plain.number(view.value)}"
    return words + (f": {' '.join(view.reason.split())}" if view.reason else "")
