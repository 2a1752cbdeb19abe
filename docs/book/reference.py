"""Write the reference: pages that follow from the code, committed so that they can be read without a build.

python docs/book/reference.py

A test says when one of them is not what the code says.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import griffe
import typer.main

from orchestrator.cli.app import EPILOG, app
from orchestrator.reporting.glossary import whole_glossary

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = "<!-- written by docs/book/reference.py -->"


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; a bar inside of a cell is escaped, a line end becomes a space."""
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in rows]
    head = list(headings)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


# ---- the study file -------------------------------------------------------------------------------------

PLACES = {
    "MetricSpec": "metric",
    "CommandSpec": "entrypoint",
    "MetricSource": "entrypoint.metrics",
    "Component": "components.NAME",
    "StoppingSpec": "stopping",
    "TuneSpec": "tune",
    "TuneStopping": "tune.stopping",
    "ResourcesSpec": "resources",
    "BudgetSpec": "budget",
    "FailuresSpec": "failures",
    "CheckpointSpec": "checkpoint",
    "ReportSpec": "report",
    "NotifySpec": "notify",
}
"""Where each section of the schema stands in a study file, in the order of the page."""
STUDY = f"""{WRITTEN}

# The fields of a study file

Every field with its type, what it is when nothing is said, and what it does, as the
[schema](../study.schema.json) has it, which editors read too (`orchestrate schema` prints it). Any of them
can be set on the command line by its full path, `stopping.max=5`. In which order one meets them:
[tutorial](../tutorial.md) and [recipes](../recipes.md).

A study file needs {{needed}}; or `extends`, and what differs from that file.
"""


def study_page() -> str:
    """Return the page of all fields of a study file."""
    schema = json.loads((DOCS / "study.schema.json").read_text(encoding="utf-8"))
    sections = schema["$defs"]
    assert set(sections) == set(PLACES), "docs/book/reference.py: PLACES has to name every section"
    [whole] = [rule for rule in schema["anyOf"] if "extends" not in rule["required"]]
    needed = whole["properties"]
    names = [f"`{name}`" for name in whole["required"]]
    parts = [STUDY.format(needed=f"{', '.join(names[:-1])} and {names[-1]}")]
    parts.append(_fields("", schema, whole["required"]))
    for name, place in PLACES.items():
        top = place.partition(".")[0]
        required = [*sections[name].get("required", ()), *needed.get(place, {}).get("required", ())]
        if place == "entrypoint.metrics" or top == "components":
            required = []
        parts.append(f"## {place}\n\n{sections[name]['description']}\n")
        parts.append(_fields(f"{place}.", sections[name], required))
    return "\n".join(parts)


def _fields(prefix: str, section: Mapping[str, Any], required: Iterable[str]) -> str:
    rows = [
        (
            f"`{prefix}{name}`",
            kind(field),
            "**required**" if name in required else default(field),
            field.get("description", ""),
        )
        for name, field in section["properties"].items()
    ]
    return table(("field", "type", "default", "what it does"), rows) + "\n"


def default(field: Mapping[str, Any]) -> str:
    """Return what holds when nothing is said; nothing where a section has its own defaults."""
    if "default" not in field or "$ref" in field:
        return ""
    value = field["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def kind(field: Mapping[str, Any]) -> str:
    """Return a field's type in words."""
    if "$ref" in field:
        place = PLACES[field["$ref"].rpartition("/")[2]]
        return f"[{place}](#{place.lower().replace('.', '')})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(kind, field["anyOf"])))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    return _plain_kind(field)


def _plain_kind(field: Mapping[str, Any]) -> str:
    name = field.get("type")
    if name in ("integer", "number"):
        return f"{name}{_bounds(field)}"
    if name == "array":
        items = kind(field["items"])
        return f"list of ({items})" if "anyOf" in field["items"] else f"list of {items}"
    if name == "object":
        values = field.get("additionalProperties")
        return f"mapping of names to {kind(values)}" if isinstance(values, Mapping) else "mapping"
    return {"string": "text", "boolean": "`true`, `false`", "null": "`null`"}[str(name)]


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ", ".join(f" {sign} {field[key]}" for key, sign in signs.items() if key in field)


# ---- the command line -----------------------------------------------------------------------------------

CLI = f"""{WRITTEN}

# The command line

Every verb with its options, as `orchestrate VERB --help` prints them.

{EPILOG}
"""


def cli_page() -> str:
    """Return the page of all verbs."""
    command = typer.main.get_command(app)
    parts = [CLI]
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        context = verb.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["orchestrate", name, *verb.collect_usage_pieces(context)])
        parts.append(f"## {name}\n\n{_paragraphs(verb.help)}\n\n```text\n{usage}\n```\n")
        records = [found for param in verb.params if (found := param.get_help_record(context))]
        if records:
            parts.append(table(("", ""), ((f"`{words}`", said) for words, said in records)) + "\n")
    return "\n".join(parts)


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).strip()


# ---- the public names of Python -------------------------------------------------------------------------

PYTHON = f"""{WRITTEN}

# Public names of Python

Everything that `orchestrator` and `orchestrator.stats` export, from its own docstrings. How they go together
is on the page [from Python](../python.md); what is not here may change at any time.
"""
ORDER = {
    "orchestrator": (
        *("Study", "open_study", "OpenedStudy", "run_local"),
        *("report", "report_scores", "trial_dir", "config"),
        *("Task", "Streams", "SampleDraws", "Monitor"),
    ),
    "orchestrator.stats": ("effects", "Analysis"),
}
"""What is public, in the order of the page: a study and what it leaves, a trial's own code, a Task."""


def python_page() -> str:
    """Return the page of all public names, from the text of the package: nothing is imported."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # one line for two parameters is no fault
    package = griffe.load(
        "orchestrator", search_paths=[ROOT], docstring_parser="google", allow_inspection=False
    )
    parts = [PYTHON]
    for module, names in ORDER.items():
        parts.append(f"## {module}\n")
        where = package if module == "orchestrator" else package[module.removeprefix("orchestrator.")]
        for name in names:
            parts += _described(where[name].final_target, name, "###")
    return "\n".join(parts)


def _described(found: Any, name: str, level: str) -> Iterable[str]:
    if found.is_function:
        signature = found.signature(return_type=True, name=name.rpartition(".")[2])
        yield f"{level} {name}\n\n```python\n{signature}\n```\n"
    else:
        yield f"{level} {name}\n"
    yield from _docstring(found)
    if found.is_class:
        members = {**found.members, **found.inherited_members}
        for inner, member in members.items():
            target = member.final_target if member.is_alias else member
            if not inner.startswith("_") and target.has_docstring and not target.is_class:
                yield from _described(target, f"{name}.{inner}", f"{level}#")


def _docstring(found: Any) -> Iterable[str]:
    if found.docstring is None:
        return
    for section in found.docstring.parsed:
        if section.kind is griffe.DocstringSectionKind.text:
            yield f"{section.value}\n"
        elif section.kind is griffe.DocstringSectionKind.parameters:
            yield "".join(f"* `{one.name}`: {_line(one.description)}\n" for one in section.value)
        elif section.kind is griffe.DocstringSectionKind.raises:
            yield "".join(f"* raises `{one.annotation}`: {_line(one.description)}\n" for one in section.value)


def _line(text: str) -> str:
    return " ".join(text.split())


# ---- the words of a report ------------------------------------------------------------------------------

GLOSSARY = f"""{WRITTEN}

# Glossary

The words of a report, as reports explain them at their end: a report those that it uses, this page all.
Levels are those of a study that sets none (`report.alpha: 0.05`). How the numbers are made:
[statistics](statistics.md).
"""


def glossary_page() -> str:
    """Return the page of every word of a report."""
    words = [
        f"## {word}\n\n" + "".join(f"{meaning[:1].upper()}{meaning[1:]}.\n\n" for meaning in meanings)
        for word, meanings in whole_glossary().items()
    ]
    return "\n".join([GLOSSARY, "".join(words).rstrip() + "\n"])


PAGES: dict[str, Callable[[], str]] = {
    "reference/study.md": study_page,
    "reference/cli.md": cli_page,
    "reference/python.md": python_page,
    "glossary.md": glossary_page,
}


if __name__ == "__main__":
    for name, written in PAGES.items():
        (DOCS / name).write_text(written(), encoding="utf-8")
