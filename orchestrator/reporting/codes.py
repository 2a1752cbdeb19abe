"""Which trials ran on which code, where a study's trials did not all run on the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.decide.states import TrialState
from orchestrator.study.naming import seeds_name

if TYPE_CHECKING:
    from orchestrator.record.state import TrialRecord


def note(runs: Iterable[TrialRecord]) -> list[str]:
    """Return a sentence that names the trials of every code but the commonest; none where all ran on one."""
    by_code: dict[str, list[TrialRecord]] = {}
    begun = [run for run in runs if run.begun and run.state is not TrialState.SKIPPED]
    for run in begun:
        if run.code is not None:
            by_code.setdefault(run.code, []).append(run)
    # journals of earlier versions only say that the code was another one
    unnamed = sum(run.accepted_code_change for run in begun if run.code is None)
    notes = [f"{unnamed} runs used changed code that was accepted with --accept-code-change."] * bool(unnamed)
    if len(by_code) < 2:
        return notes
    (commonest, most), *others = sorted(by_code.items(), key=lambda item: -len(item[1]))
    told = [f"{len(most)} used {commonest}", *(f"{len(on)} {code} ({_names(on)})" for code, on in others)]
    return [*notes, f"Not all runs are of the same code: {', '.join(told)}."]


def _names(runs: Iterable[TrialRecord]) -> str:
    seeds: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        seeds.setdefault((run.arm, run.phase), []).append(run.seed)
    return "; ".join(seeds_name(arm, sorted(set(of)), phase) for (arm, phase), of in seeds.items())
