"""The scores of the single samples in a validation, where the study's metric is the mean of them."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from orchestrator.training.ranks import rows_of_all_ranks
from orchestrator.training.session import Session
from orchestrator.training.task import ID, Batch, Task

log = logging.getLogger(__name__)


class SampleScores:
    """Collects them during a full validation, and hands them to the session, those of all ranks in one.

    Samples are told apart by the `id` of the data. Where it has none the loop counts them; that says nothing
    where `split_data` is the task's own, since the split may be another one under every seed.
    """

    def __init__(self, task: Task, session: Session) -> None:
        self._session = session
        self._part, _, self._name = session.claimed.partition("/")
        self._counted_only = type(task).split_data is not Task.split_data
        self._ids: list[Tensor] = []
        self._values: list[Tensor] = []
        self._told = False

    def saw(self, part: str, batch: Batch, indices: Tensor, name: str, values: Tensor) -> None:
        """Take one score of a batch, [B]; `indices`: places in the validation set."""
        if part != self._part or name != self._name:
            return
        ids = batch[ID].detach().cpu()
        self._counted_only = self._counted_only and torch.equal(ids.to(indices.dtype), indices)
        self._ids.append(ids)
        self._values.append(values.detach().double().cpu())

    def hand_over(self) -> None:
        """Give the session what was seen since the last time; every rank calls it."""
        ids, values, self._ids, self._values = self._ids, self._values, [], []
        if not ids:
            return
        world = self._session.world_size
        joined = rows_of_all_ranks(torch.cat(ids), world), rows_of_all_ranks(torch.cat(values), world)
        try:
            if self._counted_only:
                raise ValueError(
                    "the data has no ids, and its split may differ with the seed; add a column id"
                )
            self._session.keep_scores(*joined)
        except ValueError as error:
            if not self._told:
                self._told = True
                log.warning("the scores of single samples are not kept: %s", error)
