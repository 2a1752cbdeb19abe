"""The JSON schema of the journal's lines, from the classes of its events.

`python -m orchestrator.record.eventschema > docs/journal.schema.json` writes it anew.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from orchestrator.record.events import KINDS, VERSION, Event
from orchestrator.study.cells import Cell

_FRAME: dict[str, Any] = {
    "v": {"const": VERSION, "description": "version of this schema"},
    "t": {"type": "number", "description": "seconds since 1970"},
    "driver": {
        "type": "integer",
        "minimum": 1,
        "description": "number of the driver that wrote the line; absent in journals of older versions",
    },
}


def journal_schema() -> dict[str, Any]:
    """Describe what this version writes; it reads lines with further fields, too."""
    kinds = {kind: _schema(event) for kind, event in KINDS.items()}
    shared = {name: schema for one in kinds.values() for name, schema in one.pop("$defs", {}).items()}
    kinds["batch"]["properties"]["new_cells"]["items"] = {"$ref": "#/$defs/cell"}
    shared["cell"] = _closed(TypeAdapter(Cell).json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of journal.jsonl",
        "type": "object",
        "required": ["v", "t", "event"],
        "properties": {**_FRAME, "event": {"enum": list(KINDS)}},
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": {**shared, **kinds},
    }


def _schema(event: type[Event]) -> dict[str, Any]:
    found = _closed(TypeAdapter(event).json_schema())
    properties, absent = found["properties"], set()
    for field in fields(event):
        told = properties[field.name]
        told.pop("default", None)
        if field.default in (None, False, ()):  # then it is left out
            absent.add(field.name)
            options = [option for option in told.pop("anyOf", ()) if option != {"type": "null"}]
            properties[field.name] = {**(options[0] if options else {}), **told}
    return {
        **found,
        "properties": {"event": {"const": event.kind}, **dict.fromkeys(_FRAME, True), **properties},
        "required": ["event", *(name for name in properties if name not in absent)],
    }


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """With all of its properties, and no others."""
    plain: dict[str, Any] = _without_titles(schema)
    return {**plain, "required": list(plain["properties"]), "additionalProperties": False}


def _without_titles(schema: Any) -> Any:
    """Return what pydantic makes of the names of classes and fields says nothing."""
    if isinstance(schema, dict):
        return {key: _without_titles(item) for key, item in schema.items() if key != "title"}
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    json.dump(journal_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
