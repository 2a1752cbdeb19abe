"""A command as the entrypoint: what a study file says of it, and what it says wrongly."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, model_serializer

from orchestrator.study.arguments import (
    BadTemplate,
    Style,
    arguments,
    filled,
    filled_shell,
    parts,
    quoted_parts,
    variable_name,
)
from orchestrator.study.changes import MISSING, dotted_keys, lookup
from orchestrator.study.faults import Path, Problem, nearest, show
from orchestrator.study.metricsource import MetricSource
from orchestrator.study.section import Section, Text
from orchestrator.study.values import Seconds

if TYPE_CHECKING:
    from orchestrator.study.spec import StudySpec

MOST_CHARACTERS = 20_000
GRACE_S = 10.0


def _parse_words(value: Any) -> Any:
    """One text, or a list of words; numbers in a list are words too."""
    if isinstance(value, str):
        wrong = "is empty" if not value.strip() else None
    elif isinstance(value, (list, tuple)):
        value = tuple(str(word) if type(word) is int else word for word in value)
        texts = all(isinstance(word, str) for word in value)
        wrong = None if texts else "is a list of words, each of them text: put it in quotes"
        wrong = wrong or ("is empty" if not value or not value[0] else None)
    else:
        wrong = "must be a command line, or a list of words"
    if wrong is None and len(value if isinstance(value, str) else "".join(value)) > MOST_CHARACTERS:
        wrong = f"has more than {MOST_CHARACTERS:,} characters"
    if wrong is not None:
        raise ValueError(wrong)
    return value


Words = Annotated[str | tuple[str, ...], BeforeValidator(_parse_words)]


def _relative(value: Any) -> Any:
    if isinstance(value, str) and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
        raise ValueError("must be a pattern below the trial's directory, such as out/epoch-*.pt")
    return value


class CommandSpec(Section):
    """A program that is run as it is, in any language, once for every trial."""

    command: Words
    """The command line, split into words as a shell would, without a shell; or the words as a list.
    `{optim.lr}` is the trial's value of that key of the baseline, `{seed}`, `{max_length}` and `{trial_dir}`
    are what they say; `{{` is a brace."""
    arguments: Style = "none"
    """How the keys of the baseline are added: `argparse` as `--optim.lr 3e-4 --amp`, `jsonargparse` as
    `--optim.lr=3e-4 --amp=true`, `hydra` as `optim.lr=3e-4`, `env` as the variable OPTIM_LR; `none`: not at
    all."""
    shell: bool = False
    """Let a shell (sh) run the text of `command`; values are quoted."""
    resume: Words | None = None
    """Words that are added when there is a checkpoint to go on from, `{checkpoint}`."""
    checkpoint: Annotated[Text, BeforeValidator(_relative)] | None = None
    """Where the command leaves its checkpoints: a pattern below the trial's directory; the newest counts."""
    metrics: MetricSource | None = None
    """Where the command's metrics are read; null: JSON lines that it prints, and TensorBoard event files."""
    grace: Seconds = GRACE_S
    """Time from SIGTERM to SIGKILL for a command that is to end."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out defaults, so that a key that is added later is no part of older studies."""
        plain, fields = handler(self), type(self).model_fields
        if self.metrics is not None:
            plain["metrics"] = self.metrics.model_dump(mode="json", exclude_defaults=True)
        return {key: value for key, value in plain.items() if getattr(self, key) != fields[key].default}

    def __str__(self) -> str:
        return self.command if isinstance(self.command, str) else shlex.join(self.command)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command with their placeholders; of a shell's the whole text.

        Raises `BadTemplate` where the text cannot be split.
        """
        return (str(self.command),) if self.shell else split(self.command)

    @property
    def identity(self) -> dict[str, Any]:
        """What determines a result of it: everything but how long it may take to end."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key != "grace"}


def split(words: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a text as a shell splits it; a list is its words."""
    if not isinstance(words, str):
        return words
    try:
        return tuple(shlex.split(words))
    except ValueError as error:
        raise BadTemplate(f"cannot be split into words: {str(error).lower()}") from None


def words_of(
    command: CommandSpec, config: Mapping[str, Any], trial_dir: str, checkpoint: str | None = None
) -> list[str]:
    """Return the words of a trial's command; `checkpoint`: what it goes on from, if anything."""
    values = {**config, "trial_dir": trial_dir, "checkpoint": checkpoint}
    own = {key: value for key, value in config.items() if key not in ("seed", "max_length")}
    more = arguments(command.arguments, own)
    if checkpoint is not None and command.resume is not None:
        more += filled(split(command.resume), values)
    if not command.shell:
        return [*filled(command.words, values), *more]
    return ["sh", "-c", " ".join([filled_shell(str(command.command), values), *map(shlex.quote, more)])]


OF_TRIAL = ("seed", "max_length", "trial_dir")
"""Placeholders beside the keys of the baseline."""


def command_problems(spec: StudySpec) -> Iterator[Problem]:
    """Find what is wrong with a command beside its single values."""
    if not isinstance(spec.entrypoint, CommandSpec):
        return
    command = spec.entrypoint
    if command.shell and not isinstance(command.command, str):
        hint = "write it as one text, or leave out shell: a list of words needs none"
        yield Problem(
            ("entrypoint", "command"), "must be one text with shell: true", show(command.command), hint
        )
        return
    yield from _template_problems(spec.baseline, command.command, command.shell, ("entrypoint", "command"))
    if command.resume is not None:
        at: Path = ("entrypoint", "resume")
        yield from _template_problems(spec.baseline, command.resume, False, at, ("checkpoint",))
        if command.checkpoint is None:
            message = "needs `checkpoint`: where the command leaves what it can go on from"
            yield Problem(at, message, show(command.resume), "for example checkpoint: out/epoch-*.pt")
    if command.arguments == "env":
        yield from _variable_problems(spec.baseline)
    yield from _settings_problems(spec)


def _template_problems(
    baseline: Mapping[str, Any],
    words: str | tuple[str, ...],
    shell: bool,
    at: Path,
    more: tuple[str, ...] = (),
) -> Iterator[Problem]:
    known = [*dict.fromkeys([*dotted_keys(baseline), *OF_TRIAL, *more])]
    try:
        texts = (str(words),) if shell else split(words)
        if not texts:
            raise BadTemplate("is empty")
        names = [part for text in texts for part in (quoted_parts if shell else parts)(text) if part.is_key]
    except BadTemplate as error:
        yield Problem(at, str(error), show(words), error.hint)
        return
    for name in dict.fromkeys(part.text for part in names):
        if name in known:
            continue
        hint, value = nearest(name, known), f"{{{name}}}"
        if name == "checkpoint":
            hint = "there is none in a first attempt: put it into `resume`, which is added when there is one"
        elif f"${value}" in str(words):
            hint = f"a reference is the same in all trials: write {value.replace('baseline.', '')}"
            hint += ", or $NAME for a variable of the shell" if shell else ""
        elif not re.fullmatch(r"[\w.-]+", name):
            hint = "write {{ and }} for braces"
        yield Problem(at, "a placeholder names no key of the baseline", value, hint)


def _variable_problems(baseline: Mapping[str, Any]) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for key in dotted_keys(baseline):
        value = lookup(baseline, key)
        if value is MISSING or (isinstance(value, Mapping) and value):
            continue
        name, why = variable_name(key), None
        if (first := taken.setdefault(name, key)) != key:
            why = f"{first} and {key} would both be the variable {name}"
        elif _RESERVED.fullmatch(name):
            why = f"{key} would be the variable {name}, which the system or the orchestrator sets"
        if why is not None:
            yield Problem(
                ("baseline", *key.split(".")), why, hint="give it another name, or other `arguments`"
            )


_RESERVED = re.compile(
    r"PATH|HOME|USER|SHELL|TMPDIR|LANG|IFS|PWD|RANK|(LOCAL_|NODE_|GROUP_)RANK|(LOCAL_)?WORLD_SIZE"
    r"|MASTER_(ADDR|PORT)|(LC|LD|PYTHON|RAY|CUDA|ORCHESTRATOR|TORCHELASTIC)_?.*"
)


def _settings_problems(spec: StudySpec) -> Iterator[Problem]:
    """Find settings that a command cannot obey: they act on code inside of a worker."""
    for name in ("trial_dir", "checkpoint"):
        if name in spec.baseline:
            message = f"{name!r} is a placeholder of commands with another meaning"
            yield Problem(("baseline", name), message, hint="give the key another name")
    for name, owner in (("datamodule", "LightningModule"), ("datasets", "Ray Train function")):
        if (value := getattr(spec, name)) is not None:
            hint = "remove it: a command brings its own data"
            yield Problem((name,), f"goes with a {owner}, not with a command", value, hint)
    if spec.monitor not in ("auto", ()):
        hint = "remove it: what a command reports are its monitors"
        yield Problem(("monitor",), "watches a Task, not a command", show(spec.monitor), hint)
