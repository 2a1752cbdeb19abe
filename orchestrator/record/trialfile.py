"""`trial.json`: what a trial is and where it stands, for people and programs that look at its directory."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import TrialPaths
from orchestrator.record.storage import Storage


def read_trial(storage: Storage, trial: TrialPaths) -> dict[str, Any]:
    """Return the content of `trial.json`; empty when there is none."""
    try:
        data = from_json(storage.read_bytes(trial.trial_json))
    except (FileNotFoundError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def update_trial(storage: Storage, trial: TrialPaths, **fields: Any) -> None:
    """Set top-level fields of `trial.json`, keeping the others. One writer at a time, rank 0 of the trial.

    Used for `cell`, `arm`, `seed`, `config`, `set`, and `checkpoints`: the names that `retain` kept.
    """
    data = json.loads(to_json({**read_trial(storage, trial), **fields}))  # NaN as text: JSON has none
    storage.write_atomic(trial.trial_json, json.dumps(data, indent=1) + "\n")
