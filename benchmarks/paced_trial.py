"""A trial that is silent for a while and then reports so many times a second, all lanes at the same time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import ray.train

POLL_S = 0.2


def paced(config: dict[str, Any]) -> None:
    """Wait until every lane has its trial; then be silent for `quiet_s`, then report until `max_length`.

    The times of both phases go to `config["notes"]`. Metrics differ between trials, none is better for it.
    """
    notes, lanes = Path(config["notes"]), int(config["lanes"])
    (notes / f"{config['seed']}.ready").touch()
    while len(list(notes.glob("*.ready"))) < lanes:
        time.sleep(POLL_S)
    quiet = time.time()
    time.sleep(float(config["quiet_s"]))
    began, every_s = time.time(), 1 / float(config["rate"])
    for index in range(1, int(config["max_length"]) + 1):
        time.sleep(max(0.0, began + index * every_s - time.time()))
        row = {"value": 1.0, "noise": config["seed"] + index, "index": index, "half": index / 2}
        ray.train.report(row)
    phases = {"quiet": quiet, "began": began, "ended": time.time()}
    (notes / f"{config['seed']}.json").write_text(json.dumps(phases))
