"""Designs: what a study compares, which arms that takes, how many cells it needs, what its effects are."""

from orchestrator.study.designs.arms import (
    Arm,
    alias_table,
    build_arms,
    expand_arms,
    pair_arms,
    searched_config,
)
from orchestrator.study.designs.combining import chosen_later, possible_pairs
from orchestrator.study.designs.contrasts import Contrast, contrasts
from orchestrator.study.designs.size import cells_per_arm

__all__ = [
    "Arm",
    "Contrast",
    "alias_table",
    "build_arms",
    "cells_per_arm",
    "chosen_later",
    "contrasts",
    "expand_arms",
    "pair_arms",
    "possible_pairs",
    "searched_config",
]
