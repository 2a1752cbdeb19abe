"""What the design estimates: every effect as a weighted sum of arms under the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.study.designs._combining import Pair, away_labels
from orchestrator.study.spec import StudySpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchestrator.study.plan import Arm

_ZERO = 1e-12


@dataclass(frozen=True)
class Contrast:
    """One effect: for each seed s, D_s = Σ_arm weights[arm] · Y_arm,s.

    Leave-one-out: +1 for the arm, −1 for the reference. An interaction: +1, −1, −1, +1. A main effect of a
    factorial design: the row of the least-squares solution, over all arms. `name` is unique; `components` are
    those whose effect (main) or joint effect (interaction) it is; `reference` is the study's reference arm.
    """

    name: str
    kind: Literal["main", "interaction"]
    components: tuple[str, ...]
    weights: Mapping[str, float]
    reference: str

    @property
    def scale(self) -> float:
        """Variance of D in units of a single run's residual variance: Σ weights² (2 for a difference)."""
        return sum(weight * weight for weight in self.weights.values())


def differences(spec: StudySpec, arms: Sequence[Arm]) -> Iterator[Contrast]:
    """Every arm minus the reference, then the interaction of every pair arm."""
    reference, *others = arms
    for arm in others:
        if arm.component is not None:
            weights = {arm.name: 1.0, reference.name: -1.0}
            yield Contrast(arm.name, "main", (arm.component,), weights, reference.name)
    labels = away_labels(spec)
    for arm in others:
        if arm.kind == "pair":
            # (Y_−A−B − Y_−B) − (Y_−A − Y_0)
            one, other = (labels[part] for part in arm.parts)
            weights = {arm.name: 1.0, one: -1.0, other: -1.0, reference.name: 1.0}
            yield Contrast(arm.name, "interaction", arm.parts, weights, reference.name)


def least_squares(spec: StudySpec, arms: Sequence[Arm], pairs: Sequence[Pair]) -> Iterator[Contrast]:
    """Yield main effects and the interactions of `pairs` from all runs.

    Model: Y = mean + Σ effect_i z_i + Σ interaction_ij z_i z_j with z = +½ where a component is taken away,
    −½ where it is present, so that effect_i has the sign of taking i away and is its average over the others,
    and interaction_ij is the difference between the effects of i without and with j. Full and fractional
    designs are orthogonal. With `exclude` the solution is still unique: the reference, every single arm and
    every pair that is not excluded are among the runs, and these alone determine all coefficients.
    """
    labels = away_labels(spec)
    names = tuple(labels)
    solution = _solved(names, pairs, arms)
    effects: list[tuple[str, ...]] = [(name,) for name in names]
    effects += pairs
    for effect, row in zip(effects, solution[1:], strict=True):
        weighted = zip(arms, row.tolist(), strict=True)
        weights = {arm.name: weight for arm, weight in weighted if abs(weight) > _ZERO}
        name = "+".join(labels[part] for part in effect)
        yield Contrast(name, "main" if len(effect) == 1 else "interaction", effect, weights, arms[0].name)


def _solved(names: Sequence[str], pairs: Sequence[Pair], arms: Sequence[Arm]) -> NDArray[Any]:
    """Return matrix, (1 + names + pairs, arms), that takes the arms' values to the model's coefficients."""
    import numpy as np  # a study file is checked without it

    away = [arm.parts or ((arm.component,) if arm.component else ()) for arm in arms]
    z = {name: np.array([0.5 if name in parts else -0.5 for parts in away]) for name in names}
    columns = [np.ones(len(arms)), *z.values(), *(z[one] * z[other] for one, other in pairs)]
    X = np.stack(columns, axis=1)  # noqa: N806 - the notation of the field
    return np.asarray(np.linalg.solve(X.T @ X, X.T))
