"""The JSON schema in docs/ is the one of the code, and the example studies keep to it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study
from orchestrator.study.search import samples_per_arm
from orchestrator.study.spec import StudySpec
from orchestrator.study.validation import json_schema, known_keys
from orchestrator.study.yamlfile import parse_yaml

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_docs_hold_the_schema() -> None:
    written = (ROOT / "docs" / "study.schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == json_schema(), "write it anew: orchestrate schema > docs/study.schema.json"


def test_schema_is_valid_and_names_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {*StudySpec.model_fields, "extends"}
    assert "wall" in schema["$defs"]["BudgetSpec"]["properties"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_example_studies(path: Path) -> None:
    document = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    VALIDATOR.validate(document.data)
    loaded = load_study(path)
    plan = make_plan(loaded.spec)
    assert len(plan.cells) == len(plan.arms) * (samples_per_arm(loaded.spec) or len(loaded.spec.seeds))


@pytest.mark.parametrize(
    "change",
    [
        {"seds": 3},
        {"seeds": []},
        {"stopping": {"rule": "resolve"}},
        {"stopping": {"max": 8, "looks": [1, 2]}},
        {"metric": {"name": "x"}},
        {"tune": {"samples": 3}},
        {"interactions": [["a", "b", "c"]]},
        {"exclude": [["a"]]},
        {"name": "a b"},
        {"components": {"x": {"y": 1}}},
    ],
)
def test_schema_refuses_what_the_loader_refuses(change: dict[str, object], study_text: str) -> None:
    data = parse_yaml(study_text, "s").data
    VALIDATOR.validate(data)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**data, **change})


def test_known_keys() -> None:
    assert "seeds" in known_keys(())
    assert {"rule", "max", "looks"} < set(known_keys(("stopping",)))
    assert known_keys(("tune", "stopping")) == ["rule", "grace", "reduction"]
    assert known_keys(("budget",)) == ["gpu_hours", "wall"]
    assert known_keys(("components", "any")) == ["without", "swap", "why", "label", "labels", "acts_after"]
    assert known_keys(("baseline",)) == known_keys(("components",)) == known_keys(("stopping", "max")) == []
