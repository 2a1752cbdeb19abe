"""A pilot: the reference alone under a few seeds of its own, to learn how much seeds differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ChangedCode, ChangedStudy, ExitCode, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.cli.studyfile import PreparedStudy
    from orchestrator.engine.api import RunOptions, StudyOutcome
    from orchestrator.study.loading import LoadedStudy

FIRST_SEED = 20_000
"""Neither an evaluation nor a search uses these: what a study is planned by must not be in its effects."""
_MOST_NAME = 64


class PilotFailed(OrchestratorError):
    """The pilot did not finish; why is in its directory."""


def run_pilot(study: PreparedStudy, seeds: int, address: str | None) -> str:
    """Run the reference under `seeds` seeds, or what is left of that; returns the directory of the pilot.

    A pilot of a changed study or of changed code is moved aside, and a new one run.

    Raises:
        PilotFailed: a run failed, or the pilot was interrupted.
    """
    from orchestrator.engine.api import RunOptions

    pilot = _pilot_of(study.loaded, seeds)
    options = RunOptions(address=address)
    try:
        outcome = _run(pilot, options)
    except (ChangedStudy, ChangedCode):
        outcome = _run(pilot, replace(options, fresh=True))
    if outcome.exit_code is not ExitCode.DONE:
        failed = PilotFailed(f"the pilot did not finish: orchestrate status {outcome.root}")
        failed.exit_code = outcome.exit_code
        raise failed
    return outcome.root


def _pilot_of(loaded: LoadedStudy, seeds: int) -> LoadedStudy:
    from orchestrator.study.spec import StudySpec

    data = loaded.spec.to_dict()
    if loaded.spec.design == "add-one-in":
        from orchestrator.study.designs import expand_arms

        data["baseline"] = dict(expand_arms(loaded.spec)[0].config)
    stopping = {key: data["stopping"][key] for key in ("max", "unit")}
    alone: dict[str, Any] = {
        "components": {},
        "design": "leave-one-out",
        "interactions": "none",
        "exclude": [],
        "tune": None,
    }
    data |= {
        **alone,
        "name": f"{loaded.spec.name[: _MOST_NAME - 6]}-pilot",
        "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds)),
        "stopping": {**stopping, "rule": "none"},
    }
    return replace(loaded, spec=StudySpec.model_validate(data))


def _run(pilot: LoadedStudy, options: RunOptions) -> StudyOutcome:
    from orchestrator.cli.live import display
    from orchestrator.engine.api import run_study

    with display() as listener:
        return run_study(pilot, options, listener)
