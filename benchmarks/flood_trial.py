"""A trial that does nothing but report, as fast as it can, and notes how long each report took."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import ray.train


def flood(config: dict[str, Any]) -> None:
    """Report `max_length` times; the seconds of every report go to `config["notes"]`.

    `value` is the same in all trials, so that nothing is stopped; `noise` tells the seeds apart.
    """
    took: list[float] = []
    began = time.time()
    for index in range(int(config["max_length"])):
        before = time.perf_counter()
        ray.train.report({"value": 1.0, "noise": config["seed"] + index, "index": index, "half": index / 2})
        took.append(time.perf_counter() - before)
    notes = Path(config["notes"]) / f"{config['kind']}-{config['seed']}.json"
    notes.write_text(json.dumps({"began": began, "ended": time.time(), "took_s": took}))
