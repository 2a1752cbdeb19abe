"""The method as a library: a table of results in, effects out; tables that cannot be used are told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from golden import golden
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError
from orchestrator.stats import effects
from orchestrator.stats.fixed import fixed_effects
from orchestrator.study.designs import Contrast

VALUES = golden("a1", "a2", "a3", "a4")
ROWS = [
    {"arm": arm, "seed": seed, "score": value}
    for arm, values in VALUES.items()
    for seed, value in enumerate(values)
]


def changed(row: int, **cells: Any) -> list[dict[str, Any]]:
    return [{**cell, **cells} if number == row else cell for number, cell in enumerate(ROWS, 1)]


def faults(results: Any, **options: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        effects(results, **options)
    return list(map(str, caught.value.faults))


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("variance", ["moderated", "per_arm"])
def test_effects_are_those_of_a_grid(mode, variance) -> None:
    found = effects(ROWS, mode=mode, margin=0.5, variance=variance)
    contrasts = [
        Contrast(arm, "main", (), {arm: 1, "baseline": -1}, "baseline") for arm in VALUES if arm != "baseline"
    ]
    values = {arm: dict(enumerate(row)) for arm, row in VALUES.items()}
    assert found.effects == fixed_effects(values, contrasts, mode, alpha=0.05, margin=0.5, variance=variance)
    assert (found.metric, found.seeds, found.missing) == ("score", (0, 1, 2, 3, 4), {})


def test_golden_numbers_of_the_first_three_seeds() -> None:
    found = effects([row for row in ROWS if row["seed"] < 3])
    a2, a4 = found["a2"], found["a4"]
    assert a2.delta == pytest.approx(-0.9333, abs=1e-4)
    assert a2.se**2 * 3 == pytest.approx(0.00963, abs=1e-5)
    assert a2.delta / a2.se == pytest.approx(-16.4738, abs=1e-4)
    assert ("noisy" in a4.flags, a4.df) == (True, 2)
    assert [effect.arm for effect in found] == ["a1", "a2", "a3", "a4"]
    assert len(found.rows()) == len(found) == 4
    with pytest.raises(KeyError):
        found["baseline"]


@pytest.mark.slow
def test_every_kind_of_table_says_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    tables = [
        columns,
        pa.table(columns),
        pandas.DataFrame(ROWS),
        {k: np.array(v) for k, v in columns.items()},
    ]
    want = effects(ROWS)
    assert all(effects(table) == want for table in tables)


def test_rows_in_another_order_and_with_other_names() -> None:
    rows = [{"config": r["arm"], "rng": f"{r['seed']}", "acc": str(r["score"]), "x": "-"} for r in ROWS[::-1]]
    found = effects(rows, arm="config", seed="rng")
    assert found.metric == "acc"
    assert {effect.arm: effect for effect in found} == {effect.arm: effect for effect in effects(ROWS)}


def test_the_baseline_is_the_one_that_is_named() -> None:
    assert {effect.reference for effect in effects(ROWS, baseline="a2")} == {"a2"}


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, "", " ", "nan", 10**400])
def test_a_run_without_a_value_has_no_pair(nothing) -> None:
    found = effects(changed(8, score=nothing))  # a1 under seed 2
    assert found.missing == {"a1": (2,)}
    assert found["a1"].seeds == (0, 1, 3, 4)
    assert found["a2"].n == 5


def test_a_run_that_is_not_there_has_no_pair() -> None:
    found = effects([row for row in ROWS if (row["arm"], row["seed"]) != ("baseline", 1)])
    assert found.missing == {"baseline": (1,)}
    assert {effect.n for effect in found} == {4}


@pytest.mark.parametrize(
    ("results", "options", "said"),
    [
        (ROWS, {"baseline": "base"}, 'baseline: there is no such arm (got "base"); did you mean baseline?'),
        (ROWS, {"metric": "scor"}, "scor: there is no such column; did you mean score?"),
        (ROWS, {"arm": "zzz"}, "zzz: there is no such column; valid: arm, seed, score"),
        (ROWS, {"mode": "up"}, 'mode: cannot be used (got "up"); valid: max, min'),
        (ROWS, {"margin": -1}, "margin: cannot be used (got -1); valid: a number above 0"),
        (ROWS, {"alpha": 5}, "alpha: cannot be used (got 5); valid: a level between 0 and 1"),
        (ROWS, {"variance": "x"}, 'variance: cannot be used (got "x"); valid: moderated, per_arm'),
        (ROWS[:5], {}, "there is no arm beside the baseline; one more arm, under the same seeds"),
        ([r for r in ROWS if r["seed"] == 3], {}, "no arm has two seeds in common with the baseline"),
        ([], {}, "there are no rows; one row per run"),
        ({"arm": [], "seed": [], "score": []}, {"metric": "score"}, "there are no rows"),
        ("results.csv", {}, "is no table of results (got str); valid: a DataFrame"),
        (changed(7, seed=0), {}, 'row 7, seed: is there twice (got 0); "a1" has it in row 6 too'),
        (changed(7, seed=0.5), {}, "row 7, seed: is no whole number (got 0.5)"),
        (changed(7, seed="a"), {}, 'row 7, seed: is no whole number (got "a")'),
        (changed(7, seed=math.inf), {}, "row 7, seed: is no whole number (got Infinity)"),
        (changed(7, arm=None), {}, "row 7, arm: is empty; every row has the name of its arm"),
        (changed(7, arm=math.nan), {}, "row 7, arm: is empty"),
        (changed(7, score="high"), {"metric": "score"}, 'row 7, score: is no number (got "high")'),
        (changed(7, score=[1]), {"metric": "score"}, "row 7, score: is no number (got [1])"),
        (changed(7, score="high"), {}, 'row 7, score: is no number (got "high")'),
        ([{**row, "score": "x"} for row in ROWS], {}, "no column has numbers, so that there is no metric"),
        ([{**row, "f1": 1} for row in ROWS], {}, "several columns could be the metric (got score, f1)"),
        ({"arm": ["a"], "seed": [1, 2], "x": [1]}, {}, "the columns are not of one length (got [1, 2, 1])"),
        (
            [{"arm": row["arm"], "seed": row["seed"], "val/loss": row["score"]} for row in ROWS],
            {},
            'mode: lower seems to be better, by its name (got "val/loss"); say mode: min',
        ),
    ],
)
def test_what_cannot_be_used_is_told(results, options, said) -> None:
    [fault] = faults(results, **options)
    assert fault.startswith(said)


def test_all_faults_at_once_but_not_without_end() -> None:
    found = faults([{**row, "score": "x"} for row in ROWS], metric="score")
    assert len(found) == 21
    assert found[-1] == "and 5 more faults"
    many = [{"arm": f"a{n}", "seed": 0, "score": 1.0} for n in range(600)]
    assert faults(many) == ["more than 500 arms (got 600)"]


def test_two_columns_of_one_name() -> None:
    table = pa.Table.from_arrays([pa.array([1])] * 3, names=["arm", "seed", "seed"])
    assert faults(table) == ["seed: is the name of several columns"]


@pytest.mark.parametrize(("name", "refused"), [("val_loss", 1), ("top1_err", 1), ("gloss", 0), ("CER", 1)])
def test_a_loss_needs_its_direction(name, refused) -> None:
    rows = [{"arm": row["arm"], "seed": row["seed"], name: row["score"]} for row in ROWS]
    assert bool(refused) == (effects(rows, mode="min").mode == "min" and _is_refused(rows))


def _is_refused(rows: list[dict[str, Any]]) -> bool:
    try:
        effects(rows)
    except InputError:
        return True
    return False


cells = st.none() | st.integers() | st.floats() | st.text(max_size=4) | st.booleans()


@pytest.mark.slow
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "arm": st.sampled_from(["baseline", "b", "c"]) | cells,
                "seed": st.integers(0, 3) | cells,
                "m": st.floats() | cells,
            }
        ),
        max_size=12,
    )
)
def test_any_table_is_judged_or_refused(rows) -> None:
    try:
        found = effects(rows, metric="m")
    except InputError:
        return
    assert any(effect.n > 1 for effect in found)
