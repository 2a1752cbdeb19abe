"""Runs that are compared under one seed, and the types of GPU that they were on.

Types go by Ray's names. Another type of GPU may compute in another precision (TF32, bf16) and with other
kernels: what that does to the metric enters Δ, and does not average out where one arm has more of it. Models
of CPU are not told apart: they differ in rounding only, which is noise that the interval has in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.record.state import TrialRecord
from orchestrator.reporting.model import ReportedEvaluation

MIXED = "on mixed devices"
"""Ends the flag of an effect: `2 on mixed devices`."""


def mixed_seeds(
    arms: Iterable[str], seeds: Iterable[int], records: Mapping[str, Sequence[TrialRecord]]
) -> dict[int, tuple[str, ...]]:
    """Seed -> the types that the runs of `arms` under it were on, where these are more than one.

    A run that went on elsewhere after a fault is on all of its types. Records of earlier versions have none.
    """
    wanted, on = set(seeds), dict[int, set[str]]()
    for arm in arms:
        for record in records.get(arm, ()):
            if record.seed in wanted:
                on.setdefault(record.seed, set()).update(record.devices)
    return {seed: tuple(sorted(types)) for seed, types in sorted(on.items()) if len(types) > 1}


def note(evaluation: ReportedEvaluation, *, averaged: bool) -> list[str]:
    """How many pairs were on different types, and what keeps a study to one; empty where none was.

    Args:
        averaged: each effect is made of all runs (factorial designs): seeds are counted, not pairs.
    """
    if not evaluation.mixed:
        return []
    effects = evaluation.all_effects[:1] if averaged else evaluation.all_effects
    pairs = sum(len(effect.seeds) for effect in effects)
    mixed = sum(len(evaluation.mixed.get(effect.arm, ())) for effect in effects)
    types = sorted({name for seeds in evaluation.mixed.values() for on in seeds.values() for name in on})
    seeds = sorted({seed for by_seed in evaluation.mixed.values() for seed in by_seed})
    what, key = ("GPU types", "accelerator_type") if "CPU" not in types else ("devices", "gpus_per_worker")
    return [
        f"{mixed} of {pairs} {'seeds' if averaged else 'pairs'} were run on different {what} "
        f"({' / '.join(types)}; seeds {', '.join(map(str, seeds))}): part of Δ may be theirs. "
        f"resources.{key} keeps a study to one, with --fresh."
    ]
