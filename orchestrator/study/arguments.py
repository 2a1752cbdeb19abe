"""The words of a command: placeholders, and the values of a trial's config as arguments and variables."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.study.changes import MISSING, leaves, lookup

Style = Literal["none", "argparse", "jsonargparse", "hydra", "env"]

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{")
_PLAIN_OF_HYDRA = re.compile(r"[A-Za-z_/.][\w/.:@%?-]*\Z", re.ASCII)
_WORDS_OF_HYDRA = ("true", "false", "null", "nan", "inf", "none")


class BadTemplate(ValueError):
    """A command that cannot be filled in; says why, and what to do about it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class TemplatePart:
    """Text as it is, or the name in a placeholder."""

    text: str
    is_key: bool = False


def parts(text: str) -> Iterator[TemplatePart]:
    """Take a text with placeholders apart. Raises `BadTemplate`."""
    end = 0
    for found in _PART.finditer(text):
        if found.start() > end:
            yield TemplatePart(text[end : found.start()])
        end = found.end()
        if found[0] == "{":
            raise BadTemplate("has a brace that is never closed", "write {{ for a brace")
        if found[1] is None:
            yield TemplatePart(found[0][0])
        else:
            yield TemplatePart(found[1].strip(), is_key=True)
    if end < len(text):
        yield TemplatePart(text[end:])


def quoted_parts(text: str) -> Iterator[TemplatePart]:
    """Take a shell's text apart. Raises `BadTemplate`, also for a placeholder in quotes."""
    quote = ""
    for part in parts(text):
        if part.is_key and quote:
            hint = "take the quotes away: values are quoted as they need it"
            raise BadTemplate(f"has the placeholder {{{part.text}}} in quotes", hint)
        if not part.is_key:
            quote = _open_quote(part.text, quote)
        yield part


def _open_quote(text: str, quote: str) -> str:
    """Return the quote that is open after the text, if one is."""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return quote


def filled(words: tuple[str, ...], values: Mapping[str, Any]) -> list[str]:
    """Return the words with the values of a trial; a list that is a whole word becomes a word for each."""
    result: list[str] = []
    for word in words:
        found = list(parts(word))
        whole = lookup(values, found[0].text) if len(found) == 1 and found[0].is_key else MISSING
        if isinstance(whole, (list, tuple)):
            result += map(shown, whole)
        else:
            result.append("".join(_value(values, part, shown) for part in found))
    return result


def filled_shell(text: str, values: Mapping[str, Any]) -> str:
    """Return a shell's text with the values of a trial, each quoted."""

    def quoted(value: Any) -> str:
        return (
            shlex.join(map(shown, value)) if isinstance(value, (list, tuple)) else shlex.quote(shown(value))
        )

    return "".join(_value(values, part, quoted) for part in quoted_parts(text))


def _value(values: Mapping[str, Any], part: TemplatePart, show: Callable[[Any], str]) -> str:
    return show(lookup(values, part.text)) if part.is_key else part.text


def shown(value: Any) -> str:
    """Return a value as a word: text as it is, other values as JSON has them, lists with commas."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and not any(
        isinstance(item, (list, tuple, Mapping)) for item in value
    ):
        return ",".join(map(shown, value))
    return json.dumps(value)


def arguments(style: Style, config: Mapping[str, Any]) -> list[str]:
    """Return the words that hand the keys of a baseline to a command."""
    if style == "argparse":
        return [word for key, value in leaves(config) for word in _of_argparse(key, value)]
    if style == "jsonargparse":
        return [
            f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in leaves(config)
        ]
    if style == "hydra":
        return [f"{key}={_of_hydra(value)}" for key, value in leaves(config)]
    return []


def variables(style: Style, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables that hand the keys of a baseline to a command."""
    if style != "env":
        return {}
    return {variable_name(key): "" if value is None else shown(value) for key, value in leaves(config)}


def variable_name(key: str) -> str:
    """`OPTIM_LR` for `optim.lr`."""
    return re.sub(r"\W", "_", key, flags=re.ASCII).upper()


def _of_argparse(key: str, value: Any) -> list[str]:
    """Give true flags; leave out false ones, and what is null."""
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{key}"]
    if isinstance(value, (list, tuple)):
        return [f"--{key}", *map(shown, value)]
    word = shown(value)
    return [f"--{key}={word}"] if word.startswith("-") else [f"--{key}", word]


def _of_hydra(value: Any) -> str:
    """Return a value in Hydra's grammar for overrides."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_of_hydra, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_of_hydra(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN_OF_HYDRA.match(value) and value.lower() not in _WORDS_OF_HYDRA:
        return value
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", value)
    ending = re.search(r"\\*$", escaped)
    return f"'{escaped}{ending[0] if ending else ''}'"
