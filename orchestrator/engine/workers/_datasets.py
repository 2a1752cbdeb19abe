"""`datasets:` of a study: Ray datasets of one trial, a shard of each for every worker.

    def make_datasets(config):
        return {"train": ray.data.read_parquet(...), "val": ray.data.read_parquet(...)}

As with Ray Train's own `datasets=`: every worker gets as many rows as the others, and what does not divide
is left out. Ray Data runs its tasks on CPUs that no worker holds: one of every node is kept free for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray.train.collective

from orchestrator.engine.runners.runner import load_name


def make_shards(path: str, config: Mapping[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """Return this rank's `ray.data.DataIterator` of every dataset that the function at `path` makes.

    The function runs on rank 0 only. Its module is importable already: it lies beside the entrypoint's.

    Raises:
        Exception: on every rank, when the function raises; TypeError when it gives something else.
    """
    if world_size == 1:
        return {name: made.iterator() for name, made in _made(path, config).items()}
    answer: Any = None
    if rank == 0:
        try:
            answer = {
                name: made.streaming_split(world_size, equal=True)
                for name, made in _made(path, config).items()
            }
        except Exception as error:
            answer = error
    answer = ray.train.collective.broadcast_from_rank_zero(answer)
    if isinstance(answer, Exception):
        raise answer
    return {name: shards[rank] for name, shards in answer.items()}


def _made(path: str, config: Mapping[str, Any]) -> dict[str, Any]:
    import ray.data  # a second, for studies that need it

    ray.data.DataContext.get_current().enable_progress_bars = False
    made = load_name(path, None)(dict(config))
    if not isinstance(made, Mapping) or not all(isinstance(data, ray.data.Dataset) for data in made.values()):
        kinds = (
            {name: type(data).__name__ for name, data in made.items()}
            if isinstance(made, Mapping)
            else type(made).__name__
        )
        raise TypeError(
            f"{path} gives {kinds}; `datasets` names a function that gives a dict of ray.data.Dataset"
        )
    return dict(made)
