"""What Ray's older calls find in a trial: an error that names the call that counts, instead of silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.train._internal import session


class _NoTuner:
    """Stands where a session of `ray.tune` would be; integrations that look for one find rank and names."""

    def __init__(self, rank: int, trial: str, experiment: str) -> None:
        self.world_rank, self.trial_id, self.trial_name = rank, trial, trial
        self.experiment_name = experiment

    def report(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(
            "ray.tune.report reaches nobody in a study: no Tuner runs this function; call ray.train.report"
        )

    @property
    def loaded_checkpoint(self) -> None:
        raise RuntimeError("ray.tune.get_checkpoint knows no study; call ray.train.get_checkpoint")


@contextmanager
def no_tuner(rank: int, trial: str, experiment: str) -> Iterator[None]:
    """Let calls of `ray.tune` and `ray.air` say what to call instead, in this context."""
    before, session._session = session._session, _NoTuner(rank, trial, experiment)
    try:
        yield
    finally:
        session._session = before
