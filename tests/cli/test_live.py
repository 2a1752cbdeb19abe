"""What a run shows: the table at several sizes of terminal, and the lines for logs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.api.progress import LiveTable, draw, shown, summary
from orchestrator.decide.states import TrialState
from orchestrator.decide.timeleft import TimeLeft
from orchestrator.engine.status import Snapshot
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.screen import Screen


def snapshot(arms: int = 2, seeds: int = 2, **changes: object) -> Snapshot:
    names = ("baseline", *(f"no-{number}" for number in range(arms - 1)))
    made = Snapshot(
        study="small",
        metric="loss",
        mode="min",
        unit="epoch",
        max_length=8.0,
        lanes=2,
        elapsed_s=75.0,
        spent_gpu_h=0.5,
        left=TimeLeft(2500.0, 3700.0),
        arms=names,
        cells=tuple(TrialRecord(f"{arm}/{seed}", arm, seed) for seed in range(seeds) for arm in names),
        notes=(),
    )
    return replace(made, **changes)


def change(old: Snapshot, arm: str, seed: int, **changes: object) -> Snapshot:
    cells = tuple(
        replace(view, **changes) if (view.arm, view.seed) == (arm, seed) else view for view in old.cells
    )
    return replace(old, cells=cells)


def drawn(what: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    screen.print(draw(what, width, height))
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_table_shows_states_values_and_progress() -> None:
    now = change(snapshot(), "baseline", 0, state=TrialState.DONE, length=8.0, value=0.25)
    now = change(now, "baseline", 1, state=TrialState.RUNNING, length=4.0, value=0.5, attempts=1)
    lines = drawn(replace(now, notes=("a worker died",)))
    row = next(line for line in lines if line.startswith("baseline"))
    assert "✓ 0.25" in row
    assert "▶ 50% 0.5" in row
    assert "1/4 cells answered, 2 slots, 1m 15s gone, 40 to 80 min left, 0.50 GPU h spent" in lines
    assert "· pending  ▶ running  ✓ done" in lines
    assert "a worker died" in lines


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "seeds"), [(1, 1), (8, 5), (8, 40), (60, 3), (100, 100)])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (40, 10)])
def test_table_fits_the_terminal(arms: int, seeds: int, width: int, height: int) -> None:
    lines = drawn(snapshot(arms, seeds), width, height)
    assert max(len(line) for line in lines) <= width
    if seeds < 40:
        assert len(lines) <= max(height, 11)


def test_arms_where_something_goes_on_are_shown_first() -> None:
    now = change(snapshot(arms=50), "no-48", 1, state=TrialState.RUNNING)
    lines = drawn(now)
    assert any(line.startswith("no-48") for line in lines)
    assert "and 35 more arms" in lines


def test_many_seeds_become_glyphs() -> None:
    now = change(snapshot(seeds=20), "baseline", 3, state=TrialState.STOPPED)
    assert any("···■·······" in line for line in drawn(now))


def test_plain_lines_tell_every_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = change(snapshot(), "baseline", 0, state=TrialState.DONE, value=0.25)
    running = change(before, "no-0", 0, state=TrialState.RUNNING, attempts=1)
    again = change(running, "no-0", 0, attempts=2)
    failed = change(again, "no-0", 0, state=TrialState.FAILED, length=2.0, reason="no\nluck")
    with shown("plain") as lines:
        for now in (before, before, running, running, again, failed):
            lines.update(now)
        lines.update(replace(failed, elapsed_s=200.0))
        lines.note("a worker died")
    assert capsys.readouterr().err.splitlines() == [
        "importing the entrypoint, then starting Ray ...",
        f"[1m 15s] {summary(before)}",
        "[1m 15s] no-0 seed 0: running",
        "[1m 15s] no-0 seed 0: running, attempt 2",
        "[1m 15s] no-0 seed 0: failed at 2 epochs: no luck",
        f"[3m 20s] {summary(replace(failed, elapsed_s=200.0))}",
        "a worker died",
    ]


def test_skipped_trials_are_told_apart() -> None:
    now = change(snapshot(), "baseline", 0, state=TrialState.SKIPPED)
    assert summary(now).startswith("1/4 cells answered (1 of them skipped), ")


def test_a_live_table_of_one_column_and_on_a_terminal_that_is_gone() -> None:
    for width, height in ((1, 1), (20, 5), (20, 24)):
        assert drawn(snapshot(8, 5, notes=("a note " * 40,)), width, height)

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with LiveTable(Screen(Gone())) as table:
        table.update(snapshot())
        table.note("\x1b[2J")


def test_live_table_in_a_terminal() -> None:
    screen = Console(file=io.StringIO(), width=80, height=24, force_terminal=True)
    with LiveTable(screen) as table:
        table.update(snapshot())
        table.note("[not] markup")
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "baseline" in text
    assert "[not] markup" in text
