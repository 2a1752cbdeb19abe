"""Batches in the order of training: fetched in this process, or ahead of time by worker processes.

source   what belongs to a request: a pure function of seed, set, epoch and samples, wherever it runs
_worker  a process of torch's DataLoader, which answers requests of one trial after the other
_slots   memory through which batches travel, used again and again
pool     the processes of a trial's process, kept between epochs and trials
feed     which request is next
"""

from orchestrator.training.loading.feed import Feed, feed_for
from orchestrator.training.loading.pool import (
    MORE_MEMORY,
    PoolSettings,
    WorkersLost,
    end_workers,
    kept_children,
    kept_threads,
    shortage,
)
from orchestrator.training.loading.source import BatchSource, Request
