"""The cluster files of the project: where they are, and what Ray makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "configs" / "clusters"
LAUNCHED = [  # files for `ray up`: those that say what starts Ray on the head
    path
    for path in [ROOT / "cluster.yaml", *sorted(CLUSTERS.glob("*.yaml"))]
    if path.exists() and "head_start_ray_commands:" in path.read_text()
]
CLOUDS = [CLUSTERS / "aws.yaml", CLUSTERS / "gcp.yaml"]


def read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def prepared(path: Path) -> dict[str, Any]:
    """The file with Ray's defaults of its provider filled in, checked by Ray against its schema.

    Raises:
        jsonschema.ValidationError, ValueError: Ray would refuse the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(read(path))
    validate_config(config)
    return config


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for the time of a block, also for the processes that it starts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
