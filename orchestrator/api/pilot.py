"""A pilot: the reference alone under a few seeds of its own, to learn how much seeds differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.api.study import Study, part_of
from orchestrator.engine.running import RunOptions
from orchestrator.errors import ChangedCode, ChangedStudy, ExitCode, OrchestratorError
from orchestrator.study.registered import design_of

if TYPE_CHECKING:
    from orchestrator.api.progress import Progress
    from orchestrator.api.recorded import StudyResult

FIRST_SEED = 20_000
"""Neither an evaluation nor a search uses these: what a study is planned by must not be in its effects."""
_MOST_NAME = 64


class PilotFailed(OrchestratorError):
    """The pilot did not finish; why is in its directory."""


def run_pilot(study: Study, seeds: int, address: str | None, progress: Progress = "auto") -> StudyResult:
    """Run the reference under `seeds` seeds, or what is left of that.

    A pilot of a changed study or of changed code is moved aside, and a new one run.

    Raises:
        PilotFailed: a run failed, or the pilot was interrupted.
    """
    pilot = pilot_of(study, seeds)
    try:
        result = pilot.run_with(RunOptions(address), progress)
    except (ChangedStudy, ChangedCode):
        result = pilot.run_with(RunOptions(address, fresh=True), progress)
    if result.exit_code is not ExitCode.DONE:
        failed = PilotFailed(f"the pilot did not finish: orchestrate status {result.outcome.root}")
        failed.exit_code = result.exit_code
        raise failed
    return result


def pilot_of(study: Study, seeds: int) -> Study:
    """Return the reference of a study alone, every seed to its full length."""
    alone: dict[str, Any] = {
        "components": {},
        "design": "leave-one-out",
        "interactions": "none",
        "exclude": [],
        "name": f"{study.name[: _MOST_NAME - 6]}-pilot",
        "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds)),
    }
    if design_of(study.spec).strips:
        alone["baseline"] = dict(study.plan.arms[0].config)
    return part_of(study, alone)
