"""docs/output.schema.json is what the verbs print with `--json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.cli.schemas import output_schema

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "output.schema.json").read_text(encoding="utf-8")
)
Fits = Callable[[str, Any], None]


def test_the_schema_is_that_of_the_code() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert output_schema() == SCHEMA, "orchestrate schema output > docs/output.schema.json"


@pytest.mark.slow
def test_what_verbs_say_of_a_study_file(command, study: Path, fits: Fits) -> None:
    fits("validate", command("validate", "-c", study, "--json").document)
    fits("plan", command("plan", "-c", study, "--json").document)
    told = "notify={command: mail-me}"
    changed = ("stopping={rule: resolve, max: 9}", "seeds=5", told)
    document = command("plan", "-c", study, *changed, "--sd", "0.1", "--json").document
    fits("plan", document)
    assert document["power"] is not None
    assert document["notify"] == "command mail-me at end, failure, look"
    fits("validate", command("validate", "-c", study, told, "--json").document)
    fits("error", command("validate", "-c", study, "sed=3", "--json").document)


def test_what_verbs_say_of_a_recorded_study(command, recorded: Path, fits: Fits) -> None:
    fits("status", command("status", "--json").document)
    (line,) = command("watch", "--json").out.splitlines()
    fits("watch", json.loads(line))
    assert json.loads(line) == command("status", "--json").document
    stopped = command("stop", "--json").document
    fits("stop", stopped)
    assert stopped == {"study": "small", "root": "runs/small", "asked": None}
    fits("error", command("status", "other", "--json").document)


def test_who_is_asked_to_stop(command, driven, fits: Fits) -> None:
    stopped = command("stop", "--json").document
    fits("stop", stopped)
    assert "process" in stopped["asked"]


def test_what_doctor_finds(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: Fits) -> None:
    monkeypatch.chdir(tmp_path)
    fits("doctor", command("doctor", "--json").document)


def test_a_number_that_json_has_none_for_and_a_key_that_nobody_names(
    command, recorded: Path, fits: Fits
) -> None:
    found = command("status", "--json").document
    found["cells"][0]["value"] = "nan"
    fits("status", found)
    for damage in ({"kells": []}, {"saved": "much"}, {"cells": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            fits("status", {**found, **damage})
