"""From plain data to a `StudySpec`: every fault of the study, told as a person would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import StudyError
from orchestrator.study.checks import rule_problems
from orchestrator.study.designs import Arm, build_arms
from orchestrator.study.faults import Path, Problem, dotted, nearest, show
from orchestrator.study.registered import RULES
from orchestrator.study.spec import Component, StoppingSpec, StudySpec, section_of


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
    about = "Study file to start from, relative to this one; null removes a component."
    schema["properties"]["extends"] = {"description": about, "type": "string"}
    for own in filter(None, (RULES.get(rule).settings for rule in RULES)):
        keys = own.model_json_schema(by_alias=True)["properties"]
        known = schema["$defs"]["StoppingSpec"]["properties"]
        known |= {key: given for key, given in keys.items() if key not in StoppingSpec.model_fields}
    components = schema["properties"]["components"]
    components["additionalProperties"] = {"anyOf": [components["additionalProperties"], {"type": "null"}]}
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required, "properties": sections}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Ablation study"}


def known_keys(path: Path, data: Mapping[str, Any] | None = None) -> list[str]:
    """Return the keys that the format knows at `path` of a study; empty where keys are free."""
    model = model_at(path)
    if model is StoppingSpec:
        model = section_of((data or {}).get("stopping")) or model
    return [] if model is None else [info.alias or name for name, info in model.model_fields.items()]


def model_at(path: Path) -> type[BaseModel] | None:
    """Return the model that describes the mapping at `path`, or None."""
    if len(path) == 2 and path[0] == "components":
        return Component
    model: type[BaseModel] = StudySpec
    for part in path:
        kinds = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
        found = [kinds.get(str(part)), *get_args(kinds.get(str(part)))]
        inner = [kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner or part == "components":
            return None
        model = inner[0]
    return model


_EXAMPLES = {
    "name": "name: my-study",
    "entrypoint": "entrypoint: trials.digits:Digits",
    "entrypoint.command": "command: python train.py --lr {optim.lr} --seed {seed} --out {trial_dir}",
    "datamodule": "datamodule: trials.lightning_digits:DigitsData",
    "datasets": "datasets: mypackage.data:make_datasets",
    "metric": "metric: {name: val/accuracy, mode: max}",
    "metric.name": "name: val/accuracy",
    "metric.mode": "mode: max",
    "baseline": "baseline: {optim: {lr: 1e-3}}",
    "seeds": "seeds: 5",
    "stopping": "stopping: {max: 20, unit: epoch}",
    "stopping.max": "max: 20",
}
_CODE = ("entrypoint", "datamodule", "datasets")
_HINTS = {
    "report.alpha": "for example alpha: 0.05",
    "report.margin": "for example margin: 0.5, in the metric's units; null tests no equivalence",
    "tune.seed": "the seeds from 10,000 up are kept free for searches",
    "stopping.futility": "for example futility: 0.1; 0 never gives an arm up",
}
_PLAIN: dict[str, Any] = {
    "name": "study",
    "entrypoint": "module:name",
    "metric": {"name": "loss", "mode": "min"},
    "baseline": {},
    "components": {},
    "seeds": 1,
    "stopping": {"max": 1},
}
_DEPENDENTS: dict[tuple[str | int, ...], tuple[str, ...]] = {
    ("stopping", "rule"): ("unit", "goal", "max_seeds", "looks", "gamma", "futility"),
    ("stopping", "goal"): ("max_seeds", "looks"),
    ("stopping", "max_seeds"): ("looks",),
    ("tune", "search"): ("samples",),
}
"""What cannot be judged when a value of the same section is faulty."""
_CLOUDED: dict[str, tuple[Path, ...]] = {
    "baseline": (("tune", "space"),),
    "components": (("interactions",), ("exclude",), ("design",), ("max_cells",)),
    "design": (("interactions",), ("exclude",), ("tune",)),
    "interactions": (("exclude",), ("max_cells",)),
    "exclude": (("interactions",), ("design",), ("max_cells",)),
    "seeds": (("stopping", "looks"), ("stopping", "max_seeds"), ("tune", "seed"), ("max_cells",)),
    "stopping": (("interactions",), ("tune",)),
    "notify": (("notify",),),
}
"""What cannot be judged when anything in a section is faulty."""
_KINDS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_too_short": "is empty",
}


def validate(data: Mapping[str, Any]) -> tuple[StudySpec | None, tuple[Arm, ...], list[Problem]]:
    """Return the spec with its arms, or None with every problem; sound sections are checked in any case."""
    spec, errors = _parse(data)
    problems = [_problem(error, data) for error in errors]
    sound, unsound = (spec, set()) if spec is not None else _patched(data, errors)
    checks = rule_problems(sound) if sound is not None else []
    arms: tuple[Arm, ...] = ()
    if sound is not None and "baseline" not in unsound:
        arms, found = build_arms(sound)
        checks += found
    sections = {str(error["loc"][0]) for error in errors}
    clouded: list[Path] = [(section,) for section in unsound]
    clouded += (path for name in sections for path in _CLOUDED.get(name, ()))
    problems += [check for check in checks if not any(check.path[: len(path)] == path for path in clouded)]
    return (None if problems else spec), arms, problems


def read_spec(data: Mapping[str, Any]) -> StudySpec:
    """Read the settings of a study back from its record.

    Raises:
        StudyError: it was started with something that this Python lacks, such as the rule of a package.
    """
    spec, errors = _parse(data)
    if spec is None:
        hint = "install what the study was started with"
        raise StudyError([replace(_problem(error, data).fault(), hint=hint) for error in errors])
    return spec


def _parse(data: Mapping[str, Any]) -> tuple[StudySpec | None, list[ErrorDetails]]:
    try:
        return StudySpec.model_validate(dict(data)), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _patched(data: Mapping[str, Any], errors: list[ErrorDetails]) -> tuple[StudySpec | None, set[str]]:
    """Return the study without its faulty parts, and the sections that had to be given up."""
    patched = {key: value for key, value in data.items() if key in StudySpec.model_fields}
    unsound: set[str] = set()
    for error in errors:
        path = error["loc"]
        section = str(path[0])
        inside, needed = patched.get(section), _PLAIN.get(section)
        vital = needed if isinstance(needed, Mapping) else ("command",)
        if len(path) == 1 or not isinstance(inside, Mapping) or path[1] in vital:
            patched.pop(section, None)
            unsound.add(section)
        else:
            gone = {path[1], *_DEPENDENTS.get(path[:2], ())}
            patched[section] = {key: value for key, value in inside.items() if key not in gone}
    return _parse({**_PLAIN, **patched})[0], unsound


def _problem(error: ErrorDetails, data: Mapping[str, Any]) -> Problem:
    path: Path = tuple(error["loc"])
    kind, where = error["type"], dotted(path)
    if kind == "extra_forbidden":
        key = str(path[-1])
        return Problem(path, f"unknown key {key!r}", hint=nearest(key, known_keys(path[:-1], data)))
    if kind == "missing":
        example = _EXAMPLES.get(where)
        return Problem(path, "is required", hint=f"for example {example}" if example else None)
    value = show(error["input"])
    if kind == "literal_error":
        return _not_one_of(path, error, value)
    if where in _CODE and isinstance(error["input"], str):
        message = "must be module:name of a class or function"
        words = where == "entrypoint" and " " in error["input"].strip()
        example = (
            "to run a command: entrypoint: {command: ...}" if words else f"for example {_EXAMPLES[where]}"
        )
        return Problem(path, message, value, example)
    message = _KINDS.get(kind) or error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    hint = _HINTS.get(where)
    if kind == "bool_type" and isinstance(error["input"], str):
        hint = "only true and false are booleans; on, off, yes and no are words"
    elif kind in ("dict_type", "model_type") and where in _EXAMPLES:
        hint = f"for example {_EXAMPLES[where]}"
    return Problem(path, message, value, hint)


def _not_one_of(path: Path, error: ErrorDetails, value: str) -> Problem:
    expected = error.get("ctx", {}).get("expected", "")
    names = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
    given = error["input"]
    hint = nearest(given, names) if isinstance(given, str) else None
    return Problem(path, f"must be {' or '.join(names)}", value, hint if hint and "did" in hint else None)
