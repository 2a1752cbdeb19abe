"""Whatever the file or the command line holds, loading gives a study that can be planned, or a StudyError."""

from __future__ import annotations

import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import Fault, StudyError
from orchestrator.study.cells import Plan, make_plan
from orchestrator.study.loading import LoadedStudy, load_study
from orchestrator.study.yamlfile import parse_yaml

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
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
TREE = parse_yaml(VALID, "valid").data
WORDS = sorted({word for word in VALID.replace(":", " ").replace("{", " ").split() if word.isidentifier()})
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


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(VALID)),
            st.integers(0, 12),
            st.one_of(SNIPPETS, st.text(max_size=6), st.sampled_from(WORDS)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_mutations_of_the_text(edits: list[tuple[int, int, str]]) -> None:
    text = VALID
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


@FUZZ
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=5), VALUES), min_size=1, max_size=3)
)
def test_mutations_of_the_tree(changes: list[tuple[list[int], object]]) -> None:
    tree: object = TREE
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
        ]
    ),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(".".join),
    st.text(max_size=10),
)


@FUZZ
@given(st.lists(st.tuples(KEYS, st.one_of(st.text(max_size=12), VALUES.map(str), SNIPPETS)), max_size=3))
def test_overrides(overrides: list[tuple[str, str]]) -> None:
    outcome(VALID.encode(), [f"{key}={value}" for key, value in overrides])
