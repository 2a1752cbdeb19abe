"""The JSON schema of what verbs print with `--json`, from the classes that they print.

`orchestrate schema output > docs/output.schema.json` writes it anew. What a verb prints is `#/$defs/` and its
name; where a verb fails it is `#/$defs/error`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, Field, TypeAdapter, create_model
from pydantic.json_schema import JsonSchemaMode

from orchestrator.api.forecasting import Begins, Estimate
from orchestrator.cli.doctor import Finding
from orchestrator.engine.sharing import Tenant
from orchestrator.record.state import TrialRecord, columns
from orchestrator.remote.diagnosis import HostFinding
from orchestrator.reporting.analysed import STUDYS_OWN
from orchestrator.reporting.effects_json import EFFECT_IN_JSON
from orchestrator.reporting.standing import CELL_IN_JSON, STOP_IN_JSON, StudyStanding
from orchestrator.simulate.generator import Scenario
from orchestrator.simulate.methods import SimulatedDesign
from orchestrator.simulate.metrics import Summary
from orchestrator.simulate.planning import PowerForecast
from orchestrator.simulate.recorded import Replay
from orchestrator.stats.results import Effect, Mode, Sample
from orchestrator.study.plan import Plan
from orchestrator.training.gates.results import CheckReport

_MODE: JsonSchemaMode = "serialization"
_NOT_FINITE = {"enum": ["nan", "inf", "-inf"]}
_ERROR = "error"


def output_schema() -> dict[str, Any]:
    """Describe what every verb of `DOCUMENTS` prints with `--json`."""
    adapters = {name: TypeAdapter(kind) for name, kind in _documents().items()}
    asked = [(name, _MODE, adapter) for name, adapter in adapters.items()]
    made, shared = TypeAdapter.json_schemas(asked, by_alias=True)
    documents = {name: made[name, _MODE] for name in adapters}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What orchestrate prints with --json",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in documents],
        "$defs": _closed({**shared.get("$defs", {}), **documents}),
    }


def _documents() -> dict[str, Any]:
    status, checked = _status(), _checked()
    return {
        "validate": _document("Validated", _VALIDATED, "A study file that is in order."),
        "plan": _document(
            "Planned", {**_of(Plan), **_PLANNED}, "plan.json, and what a run would do and take."
        ),
        "ablate": _document("Ablated", _ABLATED, "How a run ended, and what it has found."),
        "status": status,
        "watch": status,
        "stop": _document("Stopped", _STOPPED, "Whom a request to stop has reached."),
        "retry": _document("Retried", {**_cell(), **_RETRIED}, "The trial that was run again."),
        "doctor": list[Finding | HostFinding],
        **dict.fromkeys(("check", "lr-find", "profile"), checked),
        "simulate": _simulated(),
        "analyse": _analysed(),
        _ERROR: _document("Failed", _FAILED, "Why a verb has done nothing, or not what it was asked for."),
    }


_Words = Annotated[str | None, Field(description="in words; null where nobody is told")]
_VALIDATED: Mapping[str, Any] = {
    "valid": Literal[True],
    "study": Annotated[str, Field(description="its name")],
    "hash": Annotated[str, Field(description="of the plan: what is registered before the first run")],
    "arms": int,
    "seeds": int,
    "cells": Annotated[int, Field(description="trials at most, without what results may call for")],
    "entrypoint": Annotated[
        dict[str, str],
        Field(description="name and file; of a command also command, metrics, program, unheard"),
    ],
    "notify": _Words,
}
_PLANNED: Mapping[str, Any] = {
    "lanes": Annotated[int, Field(description="trials at the same time on this machine")],
    "others": Annotated[list[Tenant], Field(description="studies of this user on this machine")],
    "looks": Annotated[list[int], Field(description="numbers of seeds after which effects are looked at")],
    "remaining": Annotated[list[str], Field(description="cells that the next run takes, at most, in order")],
    "begins": Annotated[Begins, Field(description="what becomes of a study recorded under the name")],
    "notify": _Words,
    "estimate": Estimate,
    "power": PowerForecast | None,
}
_ABLATED: Mapping[str, Any] = {
    "study": str,
    "root": Annotated[str, Field(description="its directory")],
    "exit_code": int,
    "interrupted": bool,
    "counts": Annotated[dict[str, int], Field(description="trials per state")],
    "stopped_by": Annotated[list[str], Field(description="the failure that has stopped it, in lines")],
    "report": Annotated[dict[str, Any], Field(description="as effects.schema.json says")],
}
_STOPPED: Mapping[str, Any] = {
    "study": str,
    "root": str,
    "asked": Annotated[
        str | None, Field(description="who runs it; null: nobody, so there was nothing to stop")
    ],
}
_RETRIED: Mapping[str, Any] = {
    "study": str,
    "left": Annotated[int, Field(description="other trials that are left for `ablate`")],
    "exit_code": int,
}
_SIMULATED: Mapping[str, Any] = {
    "scenario": Scenario,
    "design": SimulatedDesign,
    "studies": Annotated[int, Field(description="how many were simulated")],
    "seed": Annotated[int, Field(description="of the series of studies")],
    "methods": list[Summary],
}
_REPLAYED: Mapping[str, Any] = {
    "study": str,
    "lanes": Annotated[int, Field(description="trials at the same time, for rules that stop at rungs")],
}
_ANALYSED: Mapping[str, Any] = {
    "metric": str,
    "mode": Mode,
    "alpha": Annotated[float, Field(description="level over all arms")],
    "margin": Annotated[float | None, Field(description="differences below it are practically equal")],
    "seeds": Annotated[list[int], Field(description="all of the table")],
    "baseline": Sample,
    "pairing": Annotated[dict[str, float | None], Field(description="rho, variance_saved")],
    "headline": Annotated[str, Field(description="what was found, in a line")],
    "notes": list[str],
}
_FAILED: Mapping[str, Any] = {
    "error": Annotated[str, Field(description="name of its class")],
    "exit_code": int,
    "faults": list[dict[str, Any]],
}


def _status() -> type[BaseModel]:
    stop: Any = _document(
        "RuleStop", _STOP, "Why a rule has ended a trial; the cut-off in the metric's units."
    )
    cell: Any = _document("TrialStanding", {**_cell(), "stop": stop | None}, "One trial.")
    counts = Annotated[dict[str, int], Field(description="trials per state")]
    kinds = {**_of(StudyStanding), "cells": list[cell], "counts": counts}
    return _document("Standing", kinds, "Where a study stands.")


def _checked() -> type[BaseModel]:
    page = Annotated[str | None, Field(description="its file; null where the extra [report] is missing")]
    kinds = {"page": page, "passed": bool, **_of(CheckReport)}
    return _document("Checked", kinds, "What the gates have found, in their order.")


def _simulated() -> Any:
    replays: Any = list[_replay()]  # type: ignore[misc]
    generated = _document("Simulated", _SIMULATED, "How rules do on studies whose truth is known.")
    return generated | _document("Replayed", {**_REPLAYED, "replays": replays}, "What rules say of a record.")


def _analysed() -> type[BaseModel]:
    effects: Any = list[_effect()]  # type: ignore[misc]
    return _document("Analysed", {**_ANALYSED, "effects": effects}, "The effects of a table of results.")


def _replay() -> type[BaseModel]:
    agreement = _document(
        "Agreement", dict.fromkeys(("arms", "same", "opposite"), int), "How far it says what the grid says."
    )
    told = Annotated[agreement | None, Field(description="null of the grid itself")]  # type: ignore[valid-type]
    finished = Annotated[bool, Field(description="the record has every run that the rule asks for")]
    return _document(
        "OneReplay", {**_of(Replay), "finished": finished, "agreement": told}, "One rule on the record."
    )


def _effect() -> type[BaseModel]:
    """Describe an effect of `analyse`: of that of a report, what there is without trials."""
    hints, level = _of(Effect), _of(Sample)
    del level["arm"]
    reached = _document("Reached", level, "Runs, mean and SD of an arm.")
    more: dict[str, Any] = {
        "differences": Annotated[list[float], Field(description="arm − baseline, in the order of seeds")],
        "p_plain": Annotated[float | None, Field(description="p of the plain paired t")],
        "p_failures": Annotated[float | None, Field(description="no table tells of failed runs: null")],
        "level": reached | None,
    }
    named = (name for name in EFFECT_IN_JSON if name not in STUDYS_OWN)
    return _document("TableEffect", {name: more.get(name) or hints[name] for name in named}, "One effect.")


_STOP: Mapping[str, Any] = dict(
    zip(STOP_IN_JSON, (str, float | None, float | None, int | None, int | None), strict=True)
)


def _of(kind: type[Any]) -> dict[str, Any]:
    """Return the fields of a dataclass with their types, under the names that they are printed with."""
    hints = get_type_hints(kind, localns={"TrialRecord": TrialRecord}, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _cell() -> dict[str, Any]:
    """Return what is printed of a trial, each with what its column in the results says."""
    hints = get_type_hints(TrialRecord)
    told = {name: column.doc + (f" ({column.unit})" if column.unit else "") for name, column in columns()}
    return {
        name: Annotated[hints[name], Field(description=told[name])] if name in told else hints[name]
        for name in CELL_IN_JSON
    }


def _document(name: str, kinds: Mapping[str, Any], about: str) -> type[BaseModel]:
    definitions: dict[str, Any] = {key: (kind, ...) for key, kind in kinds.items()}
    return create_model(name, __doc__=about, **definitions)


def _closed(schema: Any) -> Any:
    """Let objects have all of their properties and no others, and numbers be what JSON has no number for."""
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = {
        key: {name: _closed(one) for name, one in item.items()} if key == "properties" else _closed(item)
        for key, item in schema.items()
        if key not in ("title", "default") or not isinstance(item, str | int | float | None | list | Mapping)
    }
    if plain.get("type") == "number":
        kept = {key: item for key, item in plain.items() if key != "type"}
        return {"anyOf": [{"type": "number"}, _NOT_FINITE], **kept}
    if "properties" in plain:
        plain |= {"required": list(plain["properties"]), "additionalProperties": False}
    return plain
