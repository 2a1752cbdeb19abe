"""The `notify` section of a study file: who is told of a running study, and of what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from orchestrator.study.arguments import BadTemplate, filled, parts
from orchestrator.study.command import Words, split
from orchestrator.study.faults import Problem, nearest, show
from orchestrator.study.section import Section

if TYPE_CHECKING:
    from orchestrator.study.spec import StudySpec

Moment = Literal["end", "failure", "look"]
PLACEHOLDERS = ("event", "study")
"""What the words of a command may name: nothing that a trial has written."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(?:[/?#]\S*)?\Z", re.IGNORECASE)
_LONGEST = 2000


def _parse_address(value: Any) -> Any:
    example = "such as https://ntfy.sh/my-study or ${SLACK_WEBHOOK}, a variable of the environment"
    if not isinstance(value, str) or not value or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"must be a URL {example}")
    if "${" in _VARIABLE.sub("", value):
        raise ValueError("holds a reference that is no variable of the environment; write ${SLACK_WEBHOOK}")
    # what a variable holds is seen when it is used
    begins_with_one = _VARIABLE.match(value) is not None
    if not begins_with_one and not _ADDRESS.match(_VARIABLE.sub("x", value)):
        raise ValueError(f"must be an http:// or https:// URL {example}")
    return value


class NotifySpec(Section):
    """Who is told of the study while it runs."""

    webhook: (
        Annotated[
            str,
            BeforeValidator(_parse_address),
            WithJsonSchema({"type": "string", "pattern": r"^([hH][tT][tT][pP][sS]?://|\$\{)"}),
        ]
        | None
    ) = None
    """URL that gets a JSON document by POST, with a `text` as Slack takes it. `${NAME}` is a variable of the
    environment of the process that drives the study: the place for what is secret in it."""
    command: Words | None = None
    """Command that gets the same document on stdin, and its parts as ORCHESTRATE_TEXT, ORCHESTRATE_EVENT,
    ...; no shell. `{event}` and `{study}` are filled in."""
    on: Annotated[tuple[Moment, ...], Field(strict=False)] = ("end", "failure", "look")
    """`end` of a run; `failure` of a trial that is not tried again; `look` that decides about an arm."""


def notify_problems(spec: StudySpec) -> Iterator[Problem]:
    """Find what is wrong with the section beside its single values."""
    notify = spec.notify
    if notify is None:
        return
    if notify.webhook is None and notify.command is None:
        hint = "for example webhook: ${SLACK_WEBHOOK}, or command: mail-me {event}"
        yield Problem(("notify",), "names neither a webhook nor a command", hint=hint)
    if not notify.on:
        hint = "valid: end, failure, look; without the section nobody is told"
        yield Problem(("notify", "on"), "names nothing that would be told", hint=hint)
    if notify.command is not None:
        yield from _command_problems(notify.command)


def _command_problems(command: str | tuple[str, ...]) -> Iterator[Problem]:
    at = ("notify", "command")
    try:
        names = [part.text for word in split(command) for part in parts(word) if part.is_key]
    except BadTemplate as error:
        yield Problem(at, str(error), show(command), error.hint)
        return
    for name in dict.fromkeys(names):
        if name not in PLACEHOLDERS:
            hint = f"{nearest(name, PLACEHOLDERS)}; the text is in $ORCHESTRATE_TEXT and on stdin"
            yield Problem(at, "a placeholder names nothing that is filled in", f"{{{name}}}", hint)


def words_for(command: str | tuple[str, ...], event: str, study: str) -> list[str]:
    """Return the words of the command for one message."""
    return filled(split(command), {"event": event, "study": study})


def variables_of(webhook: str | None) -> tuple[str, ...]:
    """Return the variables of the environment that a URL names."""
    return tuple(dict.fromkeys(_VARIABLE.findall(webhook or "")))


def lacking_variables(notify: NotifySpec, environment: Mapping[str, str]) -> list[str]:
    """Return those that are not set."""
    return [name for name in variables_of(notify.webhook) if not environment.get(name)]


def address_of(webhook: str, environment: Mapping[str, str]) -> str | None:
    """Return the URL with its variables filled in; None where that is no http:// or https:// URL."""
    filled_in = _VARIABLE.sub(lambda found: environment.get(found[1], ""), webhook).strip()
    return filled_in if filled_in.isprintable() and _ADDRESS.match(filled_in) else None


def in_words(notify: NotifySpec, environment: Mapping[str, str]) -> str:
    """`webhook ${SLACK_WEBHOOK} at end, failure (SLACK_WEBHOOK is not set here)`: as the file has it."""
    command = notify.command if isinstance(notify.command, str | None) else " ".join(notify.command)
    named = [
        *([] if notify.webhook is None else [f"webhook {notify.webhook}"]),
        *([] if command is None else [f"command {command}"]),
    ]
    lacks = lacking_variables(notify, environment)
    verb = "is" if len(lacks) == 1 else "are"
    unset = f" ({', '.join(lacks)} {verb} not set here)" if lacks else ""
    return f"{' and '.join(named)} at {', '.join(notify.on)}{unset}"
