"""A study from Python: what is accepted, what is refused, and what of it is worked out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import Study
from orchestrator.errors import StudyError
from orchestrator.study.designs import build_arms


def test_a_mapping_is_the_same_study_as_a_file(study: dict[str, Any]) -> None:
    Path("study.yaml").write_text(yaml.safe_dump(study))
    from_file = Study.from_file("study.yaml", "seeds=3")
    from_dict = Study.from_dict(study, "seeds=3")
    assert from_dict.spec == from_file.spec
    assert from_dict.plan == from_file.plan
    assert [arm.name for arm in from_dict.plan.arms] == ["baseline", "level=two"]
    assert (from_file.config, from_dict.config) == ("study.yaml", None)
    assert not Path("runs").exists()


def test_a_mapping_may_extend_a_file(study: dict[str, Any]) -> None:
    Path("base.yaml").write_text(yaml.safe_dump(study))
    extended = Study.from_dict({"extends": "base.yaml", "seeds": 1})
    assert extended.spec.seeds == (0,)
    assert extended.name == "levels"


def test_all_faults_of_a_mapping_come_at_once(study: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as refused:
        Study.from_dict({**study, "entrypoint": "levels:trian", "seeds": []}, "stopping.max=soon")
    faults = {fault.field: fault for fault in refused.value.faults}
    assert set(faults) == {"entrypoint", "seeds", "stopping.max"}
    assert faults["seeds"].file == "the study's mapping"
    assert faults["seeds"].line is None
    assert "did you mean train?" in str(faults["entrypoint"])


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), Path()])
def test_what_no_file_can_hold_is_refused(study: dict[str, Any], value: object) -> None:
    with pytest.raises(StudyError, match="cannot be written into a study file"):
        Study.from_dict({**study, "baseline": {"level": value}})


def test_text_stays_text(study: dict[str, Any]) -> None:
    words = {"on": "on", "number": "1e-3", "empty": ""}
    assert Study.from_dict({**study, "baseline": {"level": 1.0, **words}}).spec.baseline["number"] == "1e-3"


def test_the_entrypoint_may_be_the_class_itself(study: dict[str, Any]) -> None:
    assert Study.from_dict({**study, "entrypoint": yaml.YAMLObject}).spec.entrypoint == "yaml:YAMLObject"


def test_an_entrypoint_of_no_module_is_refused(study: dict[str, Any]) -> None:
    def train(config: object) -> None:
        del config

    with pytest.raises(StudyError, match="not defined in a module of its own"):
        Study.from_dict({**study, "entrypoint": train})


def test_arms_are_made_once(study: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    home = sys.modules[build_arms.__module__]
    real = home.combining_problems
    monkeypatch.setattr(home, "combining_problems", lambda *given: built.append(given) or real(*given))
    Study.from_dict(study).forecast()
    assert len(built) == 1


def test_a_study_that_has_begun_keeps_the_version_of_its_rule_and_a_fresh_one_has_the_newest(
    study: dict[str, Any],
) -> None:
    def under(**stopping: Any) -> Study:
        return Study.from_dict({**study, "seeds": 5, "stopping": {"rule": "resolve", "max": 2, **stopping}})

    begun = under(version=1)
    begun.storage.write_atomic(begun.paths.plan_json, json.dumps(begun.plan.to_json()))
    again = under()
    assert (again.spec, again.plan) == (begun.spec, begun.plan)
    assert again.anew().plan.registered["goal_version"] == 2
    assert under(goal="reinvest").spec.stopping.version == 1
