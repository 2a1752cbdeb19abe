"""`${...}`: resolved after an arm's changes; every fault found before OmegaConf sees the study."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import Fault
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import LoadedStudy

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]


def study(hidden: str, more: str = "") -> str:
    return f"""\
name: refs
entrypoint: code:Trial
metric: {{name: val/loss, mode: min}}
baseline:
  model: {{width: 32, hidden: {hidden}}}
  data: {{size: 3}}
components:
  narrow: {{without: {{model.width: 8}}}}
  big: {{swap: {{same: {{data.size: "${{baseline.model.width}}"}}}}}}
seeds: 1
stopping: {{max: 4}}
{more}
"""


@pytest.mark.parametrize("reference", ["${baseline.model.width}", "${.width}"])
def test_references_follow_the_changes_of_an_arm(load: Load, reference: str) -> None:
    plan = make_plan(load(study(f'"{reference}"')).spec)
    configs = {arm.name: arm.config for arm in plan.arms}
    assert configs["baseline"]["model"] == {"width": 32, "hidden": 32}
    assert configs["no-narrow"]["model"] == {"width": 8, "hidden": 8}
    assert configs["big=same"]["data"] == {"size": 32}
    assert plan.arm("big=same").set == {"data.size": 32}


def test_other_sections_can_be_named(load: Load) -> None:
    loaded = load(study('"w${stopping.max}-${name}"', 'storage: "runs/${name}-${baseline.data.size}"'))
    assert loaded.spec.storage == "runs/refs-3"
    assert make_plan(loaded.spec).arms[0].config["model"]["hidden"] == "w4-refs"
    assert loaded.raw["storage"] == "runs/${name}-${baseline.data.size}"


def test_whole_mappings_and_chains(load: Load) -> None:
    text = (
        study('"${baseline.data}"')
        .replace("size: 3", 'size: "${baseline.n}"')
        .replace("  data:", "  n: 7\n  data:")
    )
    assert make_plan(load(text).spec).arms[0].config["model"]["hidden"] == {"size": 7}


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (
            "${baseline.model.widht}",
            "names no setting (got ${baseline.model.widht}); did you mean baseline.model.width?",
        ),
        ("${model.width}", "did you mean ${baseline.model.width}?"),
        ("${seeds}", "cannot address 'seeds'"),
        ("${budget.wall}", "cannot address 'budget'"),
        ("${oc.env:HOME}", "resolvers such as ${oc.env:...} are not allowed"),
        ("${baseline.model.hidden}", "form a circle: baseline.model.hidden → baseline.model.hidden"),
        ("${baseline.model}", "form a circle"),
        ("${..data.size.x}", "names no setting"),
        ("${......x}", "leads above the study"),
        ("${a", "is not closed"),
        ("${${name}}", "is not closed, or holds another one"),
        ("${}", "is no path of a setting"),
        ("${baseline.data[0]}", "is no path of a setting"),
        ("\\\\${name}", "cannot hold a backslash"),
    ],
)
def test_faults_of_references(faults: Faults, hidden: str, words: str) -> None:
    (fault,) = faults(study(f'"{hidden}"'))
    assert (fault.line, fault.field) == (5, "baseline.model.hidden")
    assert words in str(fault)


def test_reference_of_an_arm_that_leads_nowhere(faults: Faults) -> None:
    text = study("1").replace("${baseline.model.width}", "${baseline.model.wdth}")
    (fault,) = faults(text)
    assert fault.field == "components.big.swap.same"
    assert "names no setting" in fault.message


def test_references_that_explode_or_never_end(faults: Faults) -> None:
    doubling = "\n".join(f'  x{i}: "${{baseline.x{i + 1}}}${{baseline.x{i + 1}}}"' for i in range(18))
    (fault,) = faults(study("1").replace("  data:", f"{doubling}\n  x18: xx\n  data:"))
    assert "expand to more than" in fault.message
    chain = "\n".join(f'  x{i}: "${{baseline.x{i + 1}}}"' for i in range(40))
    found = faults(study("1").replace("  data:", f"{chain}\n  x40: xx\n  data:"))
    assert any("a chain of more than" in fault.message for fault in found)
