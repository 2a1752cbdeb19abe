"""A study file as a form, and the filled form as words of the command line. Pure: no files, no HTTP.

The form is a closed list: what it does not offer cannot be set with it. Storage, code and `extends` are not
on it; an entrypoint is chosen among those that the study files name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin
from unicodedata import category

from orchestrator.errors import Fault, InputError, StudyError
from orchestrator.study.changes import MISSING, leaves, lookup
from orchestrator.study.names import BUILT_IN, LOGGERS, lacking
from orchestrator.study.plugins import OneOf
from orchestrator.study.secrets import looks_secret
from orchestrator.study.validation import model_at
from orchestrator.study.values import is_number
from orchestrator.study.yamlfile import parse_yaml

Kind = Literal["choice", "number", "text", "yaml"]
SETTINGS = (
    *("name", "seeds", "design", "stopping.rule", "stopping.goal", "stopping.max", "stopping.unit"),
    *("budget.wall", "budget.gpu_hours"),
    *("resources.workers", "resources.gpus_per_worker", "resources.max_parallel"),
)
"""What the form offers of the study beside baseline and components, by dotted path."""
TICKED = ("component", "monitor", "logger", "flag")
FLAGS = {
    "extend": "add arms, alternatives or seeds to it",
    "fresh": "begin anew; it is kept under another name",
    "retry-failed": "run what has failed again",
    "accept-code-change": "go on with code that has changed; later trials are marked",
}
"""What a start may do to a study that is recorded already, by the command's option."""
LONGEST_VALUE = 2_000
"""Characters of one field."""


@dataclass(frozen=True)
class Field:
    """One setting. `name`: its dotted path; `value`: what the file says, as it is shown.

    `choices` are all valid values of a choice; of the other kinds they are suggestions.
    """

    name: str
    value: str
    kind: Kind
    choices: tuple[str, ...] = ()
    about: str = ""

    @property
    def label(self) -> str:
        return self.name.removeprefix("baseline.")


@dataclass(frozen=True)
class Tick:
    """A box that can be ticked. `value` identifies it among those of its group."""

    value: str
    label: str
    on: bool
    about: str = ""


@dataclass(frozen=True)
class Form:
    """Everything that can be chosen for one study file."""

    entrypoint: Field
    baseline: tuple[Field, ...]
    settings: tuple[Field, ...]
    components: tuple[Tick, ...]
    monitors: tuple[Tick, ...]
    loggers: tuple[Tick, ...]
    flags: tuple[Tick, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return (self.entrypoint, *self.baseline, *self.settings)

    def groups(self) -> dict[str, tuple[Tick, ...]]:
        """Return the boxes by the name that they are sent under."""
        return dict(zip(TICKED, (self.components, self.monitors, self.loggers, self.flags), strict=True))


def form_of(raw: Mapping[str, Any], entrypoints: Iterable[str]) -> Form:
    """Return the form of a study: `raw` is its merged data, `entrypoints` are those to choose from."""
    own = shown(raw["entrypoint"])
    choices = tuple(dict.fromkeys([own, *sorted(entrypoints)]))
    alternatives = _alternatives(raw.get("components") or {})
    return Form(
        entrypoint=Field("entrypoint", own, "choice", choices, "model and data: the code that is studied"),
        baseline=tuple(
            _baseline_field(key, value, alternatives.get(key, [])) for key, value in leaves(raw["baseline"])
        ),
        settings=tuple(_setting(raw, name) for name in SETTINGS),
        components=tuple(_component_ticks(raw.get("components") or {})),
        monitors=tuple(_monitor_ticks(raw.get("monitor", "auto"))),
        loggers=tuple(_logger_ticks(raw.get("loggers", ["tensorboard"]))),
        flags=tuple(Tick(flag, flag.replace("-", " "), False, about) for flag, about in FLAGS.items()),
    )


def shown(value: Any) -> str:
    """Return a value as the form shows it: words as they are, everything else as YAML on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _alternatives(components: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Baseline key -> the values that components give it."""
    found: dict[str, list[Any]] = {}
    for component in components.values():
        component = component or {}
        for changes in (component.get("without"), *(component.get("swap") or {}).values()):
            for key, value in leaves(changes or {}):
                found.setdefault(key, []).append(value)
    return found


def _baseline_field(key: str, value: Any, alternatives: Sequence[Any]) -> Field:
    name = f"baseline.{key}"
    if isinstance(value, bool):
        return Field(name, shown(value), "choice", ("true", "false"))
    kind: Kind = "text" if isinstance(value, str) else "number" if is_number(value) else "yaml"
    like = is_number if kind == "number" else lambda other: type(other) is type(value)
    choices = tuple(dict.fromkeys(shown(other) for other in (value, *alternatives) if like(other)))
    if kind == "yaml" or len(choices) == 1:
        return Field(name, shown(value), kind)
    return Field(name, shown(value), "choice" if kind == "text" else kind, choices)


def _setting(raw: Mapping[str, Any], name: str) -> Field:
    *section, key = name.split(".")
    model = model_at(tuple(section))
    assert model is not None, name
    info = next(info for field, info in model.model_fields.items() if (info.alias or field) == key)
    value = lookup(raw, name)
    text = shown(info.get_default() if value is MISSING else value)
    about = " ".join((info.description or "").split())
    valid = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    for registered in (one for one in info.metadata if isinstance(one, OneOf)):
        valid = tuple(registered.names())
    kind: Kind = "choice" if valid else "text" if info.annotation is str else "yaml"
    return Field(name, text, kind, valid, about)


def _component_ticks(components: Mapping[str, Any]) -> Iterator[Tick]:
    for name, component in components.items():
        if component is None:
            continue
        why = str(component.get("why") or "")
        if component.get("without"):
            yield Tick(name, f"no-{name}", True, why)
        for alternative in component.get("swap") or {}:
            yield Tick(f"{name}={alternative}", f"{name}={alternative}", True, why)


def _monitor_ticks(chosen: Any) -> Iterator[Tick]:
    yield Tick("auto", "auto", chosen == "auto", "what fits the kind of task")
    names = [] if chosen == "auto" else list(chosen)
    for name in dict.fromkeys([*BUILT_IN, *names]):
        yield Tick(name, name, name in names, BUILT_IN.get(name, "a monitor of the study's own"))


def _logger_ticks(chosen: Iterable[str]) -> Iterator[Tick]:
    for name in LOGGERS:
        if lacking(name) is None or name in chosen:
            yield Tick(name, name, name in chosen, "")


def overrides(form: Form, filled: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the settings that differ from the file, as `key=value` words of the command.

    Args:
        filled: what was sent, by name. A field that was not sent stays as it is; a box is then off.

    Raises:
        InputError: with every fault of the form; what the settings mean is the command's to judge.
    """
    known = {field.name for field in form.fields} | set(TICKED)
    faults = [Fault("the form has no such field", field=name[:80]) for name in filled if name not in known]
    words: list[str] = []
    for field in form.fields:
        for given in filled.get(field.name, ())[:1]:
            text = given.strip()
            if text != field.value.strip():
                fault = _fault(field, text)
                faults += [] if fault is None else [fault]
                words.append(f"{field.name}={_written(field, text)}")
    ticked = {name: list(filled.get(name, ())) for name in TICKED}
    for name, ticks in form.groups().items():
        valid = [tick.value for tick in ticks]
        faults += [Fault("no such choice", field=name, value=v[:80]) for v in ticked[name] if v not in valid]
    if faults:
        raise InputError(faults)
    words += _component_words(form.components, ticked["component"])
    words += _list_words("monitor", form.monitors, ticked["monitor"])
    return words + _list_words("loggers", form.loggers, ticked["logger"])


def options(filled: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the options of the command that were ticked; `overrides` refuses others."""
    return [f"--{flag}" for flag in filled.get("flag", ())]


def setting(field: Field, text: str) -> str:
    """Return one setting as a `key=value` word. Raises `InputError`."""
    fault = _fault(field, text.strip())
    if fault is not None:
        raise InputError(fault)
    return f"{field.name}={_written(field, text.strip())}"


def is_valid(field: Field, text: str) -> bool:
    """Whether a text may stand in a field."""
    return _fault(field, text.strip()) is None


def _fault(field: Field, text: str) -> Fault | None:
    name, start = field.name, text[:80]
    if len(text) > LONGEST_VALUE:
        return Fault(f"is longer than {LONGEST_VALUE:,} characters", field=name)
    if looks_secret(name, text):
        return Fault("looks like a secret, and a study is recorded and shown", field=name)
    if not all(letter.isprintable() or category(letter) == "Zs" for letter in text):
        return Fault("holds control characters, or others that cannot be shown", field=name)
    if field.kind == "choice" and text not in field.choices:
        return Fault("no such choice", field=name, value=start, hint=f"valid: {', '.join(field.choices)}")
    if field.kind == "number" and not is_number(_parsed(text)) and "${" not in text:
        return Fault("is a number in the study file", field=name, value=start or "nothing")
    if field.kind == "yaml" and _parsed(text) is MISSING:
        return Fault("cannot be read as YAML", field=name, value=start, hint="quotes may be missing")
    return None


def _written(field: Field, text: str) -> str:
    """Return what stands behind the `=`: a word that YAML would read as something else is quoted."""
    is_word = field.kind == "text" or (field.kind == "choice" and field.choices != ("true", "false"))
    return json.dumps(text, ensure_ascii=False) if is_word and _parsed(text) != text else text


def _parsed(text: str) -> Any:
    try:
        return parse_yaml(text, "form").data
    except StudyError:
        return MISSING


def _component_words(ticks: Sequence[Tick], on: Sequence[str]) -> list[str]:
    """`components.X=null` for a component of which nothing is left, its parts by themselves otherwise."""
    by_component: dict[str, list[str]] = {}
    for tick in ticks:
        by_component.setdefault(tick.value.partition("=")[0], []).append(tick.value)
    words = []
    for component, values in by_component.items():
        off = [value for value in values if value not in on]
        parts = [""] if len(off) == len(values) else [_part(value) for value in off]
        words += [f"components.{component}{part}=null" for part in parts]
    return words


def _part(value: str) -> str:
    swap = value.partition("=")[2]
    return f".swap.{swap}" if swap else ".without"


def _list_words(key: str, ticks: Sequence[Tick], on: Sequence[str]) -> list[str]:
    if {tick.value for tick in ticks if tick.on} == set(on):
        return []
    if "auto" in on:
        if len(on) > 1:
            raise InputError(Fault("auto, or some of the others", field=key, hint="untick auto to choose"))
        return [f"{key}=auto"]
    return [f"{key}=[{', '.join(on)}]"]
