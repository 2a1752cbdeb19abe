"""Whatever the file or the command line holds, loading gives a study that can be planned, or a StudyError."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.decide.sequential import RESOLVE
from orchestrator.decide.stopping import rule_of
from orchestrator.errors import Fault, StudyError
from orchestrator.study.cells import Plan, evaluation_seeds, make_plan
from orchestrator.study.designs import (
    pair_arms,
    possible_pairs,
    searched_config,
)
from orchestrator.study.loading import LoadedStudy, load_study
from orchestrator.study.registered import design_of
from orchestrator.study.search import grid, random_draws, study_space
from orchestrator.study.spec import StudySpec
from orchestrator.study.yamlfile import parse_yaml

FUZZ = settings(suppress_health_check=list(HealthCheck))
VALID = """\
name: small
entrypoint: code.trial:Trial
metric: {name: val/accuracy, mode: max}
baseline:
  model: {width: 32, batchnorm: true, hidden: "${baseline.model.width}"}
  optim: {name: adamw, lr: 1e-3}
components:
  batchnorm: {without: {model.batchnorm: false}, why: does it matter?}
  optimizer: {swap: {sgd: {optim.name: sgd, optim.lr: 0.1}}}
seeds: 3
stopping: {rule: asha, max: 8, unit: epoch, grace: 1}
"""
SEQUENTIAL = """\
name: small
entrypoint: code.trial:Trial
metric: {name: val/accuracy, mode: max}
baseline:
  model: {width: 32, batchnorm: true, dropout: 0.1, depth: 2}
  optim: {name: adamw, lr: 1e-3}
components:
  batchnorm: {without: {model.batchnorm: false}}
  dropout: {without: {model.dropout: 0.0}}
  depth: {without: {model.depth: 1}}
  optimizer: {swap: {sgd: {optim.name: sgd, optim.lr: 0.1}}}
design: leave-one-out
interactions: [[batchnorm, dropout], [depth, optimizer]]
exclude: [[batchnorm, depth]]
max_cells: 500
seeds: 4
stopping: {rule: resolve, goal: reinvest, max_seeds: 8, looks: [3, 8], gamma: 2, futility: 0.1, max: 8}
tune:
  samples: 4
  search: random
  space: {optim.lr: {loguniform: [1e-4, 1e-1]}, model.width: {choice: [16, 32]}}
  stopping: {rule: asha, grace: 2}
  compare: both
  seed: 10000
report: {alpha: 0.05, margin: 0.5}
"""
CROSSED = """\
name: small
entrypoint: code.trial:Trial
metric: {name: val/accuracy, mode: max}
baseline: {a: 1, b: 1, c: 1, d: {e: 1}}
components: {a: {without: {a: 0}}, b: {without: {b: 0}}, c: {without: {c: 0}}, d: {swap: {x: {d.e: 0}}}}
design: factorial
interactions: auto
exclude: [[a, b], [a, c, d]]
max_cells: 90
seeds: 2
stopping: {max: 8}
"""
TEXTS = st.sampled_from([VALID, SEQUENTIAL, CROSSED])
TREES = TEXTS.map(lambda text: parse_yaml(text, "valid").data)
ALL = VALID + SEQUENTIAL + CROSSED
WORDS = sorted({word for word in ALL.replace(":", " ").replace("{", " ").split() if word.isidentifier()})
SNIPPETS = st.sampled_from(
    [
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "${",
        "}",
        "{",
        "[",
        "]",
        ": ",
        "\n",
        "\t",
        "???",
        "'",
        '"',
        "%",
        "- ",
        "? ",
        "| ",
        "\\",
    ]
)


def outcome(content: bytes, overrides: Sequence[str] = ()) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        file.write_bytes(content)
        faults: tuple[Fault, ...] = ()
        loaded: LoadedStudy | None = None
        try:
            loaded = load_study(file, overrides)
        except StudyError as error:
            faults = error.faults
    if loaded is None:
        assert faults
        assert all(fault.message and fault.file for fault in faults)
    else:
        plan = make_plan(loaded.spec)
        assert Plan.from_json(plan.to_json()) == plan
        follow(loaded.spec, plan)


def follow(spec: StudySpec, plan: Plan) -> None:
    """What is derived from a sound study is never refused later."""
    assert len(plan.cells) <= spec.max_cells
    later = (
        pair_arms(spec, possible_pairs(spec)) if spec.interactions == "auto" and len(plan.arms) < 9 else ()
    )
    names = {arm.name for arm in (*plan.arms, *later)}
    for effect in design_of(spec).contrasts(spec, (*plan.arms, *later)) if len(plan.arms) < 200 else ():
        assert set(effect.weights) <= names
        assert abs(sum(effect.weights.values())) < 1e-9
    design_of(spec).aliases(spec)
    most = rule_of(spec).most_seeds(spec)
    assert len(set(evaluation_seeds(spec))) == most
    if spec.stopping.rule == "resolve":
        assert RESOLVE.looks(spec)[-1] == most
        assert RESOLVE.gamma(spec) > 0
    if spec.tune is not None and spec.tune.searches:
        assert spec.tune is not None
        space = study_space(spec)
        draws = grid(space) if spec.tune.search == "grid" else random_draws(space, 2, "seed")
        for arm in plan.arms[:3]:
            searched_config(spec, arm, draws[0])


@pytest.mark.parametrize("text", [VALID, SEQUENTIAL, CROSSED])
def test_what_is_changed_is_sound_before(text: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    spec = load_study(file).spec
    follow(spec, make_plan(spec))


@FUZZ
@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example(b'a: "\\U00110000"')
@example(b"%YAML 9999999999999999999999.1\n---\na: 1")
def test_bytes(content: bytes) -> None:
    outcome(content)


@FUZZ
@given(st.text(max_size=200))
def test_text(content: str) -> None:
    outcome(content.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@FUZZ
@given(
    TEXTS,
    st.lists(
        st.tuples(
            st.integers(0, len(SEQUENTIAL)),
            st.integers(0, 12),
            st.one_of(SNIPPETS, st.text(max_size=6), st.sampled_from(WORDS)),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_mutations_of_the_text(text: str, edits: list[tuple[int, int, str]]) -> None:
    for start, length, inserted in edits:
        text = text[:start] + inserted + text[start + length :]
    outcome(text.encode("utf-8", "surrogatepass"))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [*WORDS, "auto", "${name}", "${baseline}", "${.x}", "${..model}", "???", "2h", "off", "a.b", ""]
    ),
    st.text(alphabet=string.printable, max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), inner, max_size=3),
    ),
    max_leaves=6,
)


def replaced(node: object, steps: list[int], value: object) -> object:
    """The tree with the value exchanged at the place to which the numbers lead."""
    if not steps or not isinstance(node, dict) or not node:
        return value
    key = list(node)[steps[0] % len(node)]
    return {**node, key: replaced(node[key], steps[1:], value)}


@pytest.mark.long
@pytest.mark.slow
@FUZZ
@given(
    TREES,
    st.lists(st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=5), VALUES), min_size=1, max_size=3),
)
def test_mutations_of_the_tree(tree: object, changes: list[tuple[list[int], object]]) -> None:
    for steps, value in changes:
        tree = replaced(tree, steps, value)
    outcome(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


KEYS = st.one_of(
    st.sampled_from(
        [
            "seeds",
            "stopping.max",
            "baseline.model.width",
            "components.batchnorm",
            "baseline",
            "components",
            "name",
            "design",
            "interactions",
            "exclude",
            "max_cells",
            "stopping.rule",
            "stopping.goal",
            "stopping.looks",
            "stopping.unit",
            "tune.search",
            "tune.samples",
            "tune.space",
            "tune.space.optim.lr.loguniform",
            "tune.compare",
        ]
    ),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(".".join),
    st.text(max_size=10),
)


CHOICES = st.sampled_from(
    [
        *("none", "asha", "resolve", "save", "reinvest", "grid", "random", "bayes", "fixed", "retuned"),
        *("leave-one-out", "add-one-in", "pairs", "factorial", "fractional", "auto", "null", "1", "8", "1.5"),
        *("[]", "[3]", "[2, 4]", "[[a, b]]", "[[batchnorm, dropout]]", "[[optimizer, depth]]"),
        *("{a: {choice: [1, 2]}}", "{model: {uniform: [0, 1]}}", "{optim.lr: {randint: [1, 3]}}"),
    ]
)


@pytest.mark.slow
@FUZZ
@given(
    TEXTS,
    st.lists(
        st.tuples(KEYS, st.one_of(st.text(max_size=12), VALUES.map(str), SNIPPETS, CHOICES)), max_size=3
    ),
)
def test_overrides(text: str, overrides: list[tuple[str, str]]) -> None:
    outcome(text.encode(), [f"{key}={value}" for key, value in overrides])
