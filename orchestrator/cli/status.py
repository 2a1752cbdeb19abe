"""`orchestrate status`: where a study stands, and why each trial that ended early did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import console, oncluster, text
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.cli.runs import find_run
from orchestrator.decide.states import TrialState
from orchestrator.report.standing import GLYPHS, CellStanding, StudyStanding, standing
from orchestrator.study.naming import seeds_name

if TYPE_CHECKING:
    from rich.table import Table


def command(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
) -> None:
    """Show where a study stands.

    Why each trial that ended early did, too. Read from the directory: nothing needs to run.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["status", STUDY, *(["--json"] if as_json else [])], study, given(storage))
    found = standing(find_run(study, storage))
    if as_json:
        console.data_json(found.to_json())
        return
    console.show(headline(found), arms_table(found), *explanations(found))


def headline(found: StudyStanding) -> str:
    """One line: the study, who runs it, how many cells are in which state."""
    counts = ", ".join(f"{number} {state}" for state, number in found.counts().items())
    driver = f"run by {found.driver}" if found.driver else "nobody runs it now"
    return f"{found.study} ({found.root}): {counts} of {len(found.cells)} cells; {driver}"


def arms_table(found: StudyStanding) -> Table:
    """Arms × seeds as glyphs, phase by phase, with the mean of the finished values of the last one."""
    from rich.table import Table

    phases = list(dict.fromkeys(cell.phase for cell in found.cells))
    several = len(phases) > 1
    table = Table(box=None, pad_edge=False)
    table.add_column("arm", overflow="fold")
    for phase in phases:
        table.add_column(phase if several else "seeds", overflow="fold")
    table.add_column("answered", justify="right")
    table.add_column(f"mean {found.metric}{f' ({phases[-1]})' if several else ''}", justify="right")
    table.add_column("wall", justify="right")
    for arm in found.arms:
        cells = [cell for cell in found.cells if cell.arm == arm]
        last = [cell for cell in cells if cell.phase == phases[-1]]
        values = [cell.value for cell in last if cell.state is TrialState.DONE and cell.value is not None]
        table.add_row(
            arm,
            *("".join(GLYPHS[cell.state] for cell in cells if cell.phase == phase) for phase in phases),
            f"{sum(cell.state.answered for cell in cells)}/{len(cells)}",
            text.number(sum(values) / len(values) if values else None),
            text.duration(sum(cell.wall_s for cell in cells)),
        )
    table.caption = text.legend(found.counts())
    table.caption_justify = "left"
    return table


def explanations(found: StudyStanding) -> list[str]:
    """One line for every cell that runs, was stopped, or failed, and for the seeds of an arm that were
    skipped alike; then what was saved and what is odd.
    """
    quiet = (TrialState.DONE, TrialState.PENDING, TrialState.SKIPPED)
    lines = [_explain(found, cell) for cell in found.cells if cell.state not in quiet]
    lines += _skipped(found)
    if found.saved:
        whole = found.max_length * len(found.cells)
        saved = text.length(found.saved, found.unit)
        lines.append(f"saved by stopping early: {saved} of {text.number(whole)} ({found.saved / whole:.0%})")
    return lines + [f"journal: {problem}" for problem in found.problems]


def _skipped(found: StudyStanding) -> list[str]:
    alike: dict[tuple[str, str, str | None, float | None], list[CellStanding]] = {}
    for cell in found.cells:
        if cell.state is TrialState.SKIPPED:
            alike.setdefault((cell.arm, cell.phase, cell.reason, cell.length), []).append(cell)
    return [
        _explain(found, cells[0], seeds_name(arm, [cell.seed for cell in cells], phase))
        for (arm, phase, *_), cells in alike.items()
    ]


def _explain(found: StudyStanding, cell: CellStanding, name: str | None = None) -> str:
    name = f"{GLYPHS[cell.state]} {name or cell.name}: {cell.state}"
    at = "" if cell.length is None else f" at {text.length(cell.length, found.unit)}"
    value = "" if cell.value is None else f", {found.metric} {text.number(cell.value)}"
    attempt = f", attempt {cell.attempts}" if cell.attempts > 1 else ""
    if cell.state is TrialState.RUNNING:
        gone = "" if found.driver else ", its driver is gone: run `orchestrate ablate` again"
        far = f"{at} of {text.number(found.max_length)}" if at else ", nothing reported yet"
        return f"{name}{far}{value}{attempt}{gone}"
    if cell.state is TrialState.STOPPED and cell.stop is not None:
        stop = cell.stop
        return (
            f"{name} by {stop.rule} at rung {text.length(stop.rung, found.unit)}{value},"
            f" cut-off {text.number(stop.cutoff)}, rank {stop.rank} of {stop.peers}"
        )
    cause = f" ({cell.cause})" if cell.cause else ""
    reason = f": {' '.join(cell.reason.split())}" if cell.reason else ""
    log = f"; {cell.trial_dir}/log.txt" if cell.state is TrialState.FAILED else ""
    return f"{name}{cause}{at}{value}{attempt}{reason}{log}"
