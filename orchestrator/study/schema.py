"""The format of a study file for editors (JSON schema), and its keys for messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from orchestrator.study.spec import Component, StoppingSpec, StudySpec, section_of
from orchestrator.study.stopping import RULES
from orchestrator.study.yamlfile import Path


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a study file, for completion and checks while writing.

    A file that extends another may leave anything out: what must be there is known after merging only.
    """
    schema = StudySpec.model_json_schema(by_alias=True, mode="validation")
    inside = {name: part.pop("required", []) for name, part in schema["$defs"].items()}
    required = schema.pop("required")
    sections = {
        key: {"required": needed}
        for key, given in schema["properties"].items()
        for name, needed in inside.items()
        if needed and f'"#/$defs/{name}"' in json.dumps(given)
    }
    schema["properties"]["extends"] = {
        "description": "Study file to start from, relative to this one; null removes a component.",
        "type": "string",
    }
    for own in filter(None, (RULES.get(rule).settings for rule in RULES)):
        keys = own.model_json_schema(by_alias=True)["properties"]
        schema["$defs"]["StoppingSpec"]["properties"] |= {
            key: given for key, given in keys.items() if key not in StoppingSpec.model_fields
        }
    components = schema["properties"]["components"]
    components["additionalProperties"] = {"anyOf": [components["additionalProperties"], {"type": "null"}]}
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required, "properties": sections}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Ablation study"}


def known_keys(path: Path, data: Mapping[str, Any] | None = None) -> list[str]:
    """The keys that the format knows at `path` of a study; empty where keys are free or there are none."""
    model = model_at(path)
    if model is StoppingSpec:
        model = section_of((data or {}).get("stopping")) or model
    return [] if model is None else [info.alias or name for name, info in model.model_fields.items()]


def model_at(path: Path) -> type[BaseModel] | None:
    """The model that describes the mapping at `path`, or None."""
    if len(path) == 2 and path[0] == "components":
        return Component
    model: type[BaseModel] = StudySpec
    for part in path:
        field = next(
            (info for name, info in model.model_fields.items() if (info.alias or name) == part), None
        )
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner or part == "components":
            return None
        model = inner[0]
    return model
