"""Designs: what a study compares, which arms that takes, how many cells it needs, what its effects are.

What a package needs to bring a design is here too: `Design` or `Crossed`, and what arms are made of.
"""

from orchestrator.study.designs._arms import (
    build_arms,
    cells_per_arm,
    expand_arms,
    pair_arms,
    searched_config,
)
from orchestrator.study.designs._base import Design
from orchestrator.study.designs._combining import chosen_later, possible_pairs
from orchestrator.study.designs._contrasts import Contrast
from orchestrator.study.designs._crossed import Crossed
from orchestrator.study.designs._drafts import REFERENCE, Draft, Singles, clash, joined
from orchestrator.study.designs._fractions import GENERATORS, AliasSet, Run, aliases, all_runs, fraction
from orchestrator.study.plan import Arm

__all__ = [
    "GENERATORS",
    "REFERENCE",
    "AliasSet",
    "Arm",
    "Contrast",
    "Crossed",
    "Design",
    "Draft",
    "Run",
    "Singles",
    "aliases",
    "all_runs",
    "build_arms",
    "cells_per_arm",
    "chosen_later",
    "clash",
    "expand_arms",
    "fraction",
    "joined",
    "pair_arms",
    "possible_pairs",
    "searched_config",
]
