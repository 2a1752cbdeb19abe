"""`orchestrate schema`: the JSON schema of study files, for editors."""

from __future__ import annotations

from orchestrator.cli import console


def command() -> None:
    """Print the JSON schema of study files."""
    from orchestrator.study.validation import json_schema

    console.data_json(json_schema())
