"""Tune's two interfaces: a searcher that feeds cells, and a scheduler that asks `decide`.

Both only translate. What to run next and what to do at a rung is the conductor's answer.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from orchestrator.engine.conduct import Conductor
from orchestrator.engine.messages import RungReached, TrialEnded
from orchestrator.engine.ray_private.head import IdleLanes
from orchestrator.engine.runtime import Road


class CellSearcher(Searcher):
    """Hands out attempts. Tune moves one whose actor still starts to a slot that has become idle, and ends
    the actor: so a new slot takes its attempt only when Tune calls it (see `lane`).
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self._conductor = conductor

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for a restore that is never made: the journal is the truth."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next attempt; None: ask again later; FINISHED: every cell is answered or the study
        stops.
        """
        del trial_id
        if self._conductor.finished():
            return str(Searcher.FINISHED)
        assignment = self._conductor.next_assignment()
        return None if assignment is None else {"assignment": assignment}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the scheduler hears of it first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the truth."""


class CellScheduler(TrialScheduler):
    """Passes rungs to the conductor and its answers to the lane.

    A stop is sent to the lane, and the trial then ends by itself with all of its ranks and its last
    checkpoint; Tune sees the end as it sees every other one.
    """

    _supports_buffered_results = False

    def __init__(self, road: Road, broker: Any) -> None:
        super().__init__()
        self._road, self._conductor, self._broker = road, road.conductor, broker
        self._idle = IdleLanes()
        self._any_trial: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler too."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept everything: the study knows its metric."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Lanes stay warm while cells wait for them."""
        self._any_trial = trial  # all ask for the same resources
        self._keep_idle_lanes(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Pass on that a rung was reached."""
        event = result.get("event")
        if isinstance(event, RungReached):
            answer = self._conductor.rung(event)
            self._broker.answer.remote(event.cell, event.attempt, answer)
        elif isinstance(event, TrialEnded):
            self._road.ended(event)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass on the trial's end, as the lane reported it."""
        event = result.get("event")
        if isinstance(event, TrialEnded):
            self._road.ended(event)
        # before Tune puts this lane aside: it is kept when a cell waits for it, else its resources are freed
        self._keep_idle_lanes(tune_controller)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Take in that the trial actor died (with its node, say): the cell goes back, its lane is free."""
        self._broker.actor_lost.remote()
        try:
            self._road.lost(trial.config["assignment"].key)
        except ray.exceptions.RayError:  # the message actor is gone, too: nothing more will be said
            self._conductor.actor_lost(trial.config["assignment"].key)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Put a trial back that never started."""
        self._conductor.actor_lost(trial.config["assignment"].key)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """First come, first served: the searcher hands out no more than the lanes can hold.

        Tune asks in every step: what nodes that come and go leave to idle lanes takes effect here.
        """
        self._keep_idle_lanes(tune_controller)

    def _keep_idle_lanes(self, tune_controller: Any) -> None:
        if self._any_trial is not None:
            self._idle.allow(tune_controller, self._any_trial, self._conductor.idle_lanes())

    def debug_string(self) -> str:
        """Shown by Tune when it prints; it does not."""
        return "cells of an ablation study"
