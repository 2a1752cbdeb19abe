"""What `ablate` shows while it runs, on stderr: a table in a terminal, lines elsewhere.

Both are fed with whole snapshots, from a background thread; neither asks a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli import console, text
from orchestrator.decide.states import TrialState
from orchestrator.engine.snapshot import CellView, Snapshot
from orchestrator.report.standing import GLYPHS

SUMMARY_EVERY_S = 60.0
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


class Display(Protocol):
    """A listener of the engine that is opened before a run and closed after it."""

    def update(self, snapshot: Snapshot) -> None: ...
    def note(self, text: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display() -> Display:
    """The one that fits stderr."""
    screen = console.err()
    return LiveTable(screen) if screen.is_terminal else PlainLines()


class LiveTable:
    """Arms × seeds, redrawn in place; notes scroll by above it."""

    def __init__(self, screen: Console) -> None:
        self._live = Live(
            Text("importing the entrypoint, then starting Ray ..."), console=screen, auto_refresh=False
        )

    def update(self, snapshot: Snapshot) -> None:
        size = self._live.console.size
        self._live.update(draw(snapshot, size.width, size.height), refresh=True)

    def note(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class PlainLines:
    """A line for every change of a cell, and a summary once a minute: for logs and pipes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[TrialState, int]] = {}
        self._next_summary_s = SUMMARY_EVERY_S

    def update(self, snapshot: Snapshot) -> None:
        first = not self._seen
        for view in snapshot.cells:
            now = (view.state, view.attempt)
            before, self._seen[view.cell] = self._seen.get(view.cell), now
            # what earlier runs of the command have answered is no news; what never ran is in a note of its
            # own
            old = first and view.state is not TrialState.RUNNING
            never_ran = view.state in (TrialState.SKIPPED, TrialState.PENDING) and not view.attempt
            if now != before and not old and not never_ran:
                self._line(snapshot, f"{view.name}: {_words(snapshot, view)}")
        if first or snapshot.elapsed_s >= self._next_summary_s:
            self._next_summary_s = snapshot.elapsed_s + SUMMARY_EVERY_S
            self._line(snapshot, summary(snapshot))

    def note(self, text: str) -> None:
        console.progress(text)

    def __enter__(self) -> Self:
        console.progress("importing the entrypoint, then starting Ray ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _line(self, snapshot: Snapshot, line: str) -> None:
        console.progress(f"[{text.duration(snapshot.elapsed_s)}] {line}")


def summary(snapshot: Snapshot) -> str:
    """One line: how far, how long still, what was spent."""
    answered = sum(view.state.answered for view in snapshot.cells)
    parts = [
        f"{answered}/{len(snapshot.cells)} cells answered",
        "1 lane" if snapshot.lanes == 1 else f"{snapshot.lanes} lanes",
        f"{text.duration(snapshot.elapsed_s)} gone",
    ]
    if snapshot.eta_s is not None:
        parts.append(f"{text.duration(snapshot.eta_s)} left")
    if snapshot.spent_gpu_h:
        parts.append(f"{snapshot.spent_gpu_h:.2f} GPU h spent")
    return ", ".join(parts)


def draw(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """The live table for a terminal of this size, in characters."""
    by_arm: dict[str, list[CellView]] = {arm: [] for arm in snapshot.arms}
    for view in snapshot.cells:
        by_arm.setdefault(view.arm, []).append(view)
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
    parts.append(Text(text.legend(snapshot.counts()), style="dim"))
    parts.append(Text(summary(snapshot)))
    parts += [Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in snapshot.notes[-2:]]
    return Group(*parts)


def _fitting(by_arm: dict[str, list[CellView]], rows: int) -> tuple[list[str], int]:
    """The arms to show in their order: all, or first those where something goes on."""
    if len(by_arm) <= rows:
        return list(by_arm), 0
    busy = [arm for arm, views in by_arm.items() if any(view.state is TrialState.RUNNING for view in views)]
    quiet = [arm for arm in by_arm if arm not in busy]
    chosen = {*busy[:rows], *quiet[: max(0, rows - len(busy))]}
    return [arm for arm in by_arm if arm in chosen], len(by_arm) - len(chosen)


def _wide(snapshot: Snapshot, views: Sequence[CellView], seeds: Sequence[int]) -> list[Text]:
    """One entry per seed: glyph and last metric, or how far a running trial is."""
    by_seed = {view.seed: view for view in views}
    entries = []
    for seed in seeds:
        view = by_seed.get(seed)
        if view is None:
            entries.append(Text())
            continue
        words = text.number(view.value) if view.value is not None else ""
        if view.state is TrialState.RUNNING:
            words = f"{(view.length or 0) / snapshot.max_length:.0%} {words}"
        entries.append(Text(f"{GLYPHS[view.state]} {words}".rstrip(), style=_STYLES[view.state]))
    return entries


def _narrow(views: Sequence[CellView]) -> list[Text]:
    """All cells as glyphs, phase by phase, and the mean of the finished values of the last phase."""
    glyphs = Text()
    phases = list(dict.fromkeys(view.phase for view in views))
    for phase in phases:
        glyphs.append(f"{' ' if glyphs else ''}{phase} " if len(phases) > 1 else "", style="dim")
        for view in (view for view in views if view.phase == phase):
            glyphs.append(GLYPHS[view.state], style=_STYLES[view.state])
    last = [view for view in views if view.phase == phases[-1] and view.sample is None]
    values = [view.value for view in last if view.state is TrialState.DONE and view.value is not None]
    return [glyphs, Text(text.number(sum(values) / len(values)) if values else "")]


def _mean_of(snapshot: Snapshot) -> str:
    """What the numbers of the narrow table are: `mean loss (retuned)`."""
    phases = list(dict.fromkeys(view.phase for view in snapshot.cells))
    return f"mean {snapshot.metric}" + (f" ({phases[-1]})" if len(phases) > 1 else "")


def _words(snapshot: Snapshot, view: CellView) -> str:
    words = str(view.state)
    if view.state is TrialState.RUNNING and view.attempt > 1:
        words += f", attempt {view.attempt}"
    if view.state.terminal and view.length is not None:
        words += f" at {text.length(view.length, snapshot.unit)}"
    if view.state.terminal and view.value is not None:
        words += f", {snapshot.metric} {text.number(view.value)}"
    return words + (f": {' '.join(view.reason.split())}" if view.reason else "")
