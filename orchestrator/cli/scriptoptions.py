"""The command-line options of a script, read from its text: nothing is imported, nothing runs."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import Fault, InputError

_OTHERS = ("click", "typer", "fire", "tyro", "absl", "hydra", "simple_parsing", "jsonargparse", "docopt")
_WRITERS = ("add_scalar", "report", "log", "log_dict", "log_metrics", "dumps", "write_scalar", "scalar")
_HELD_OUT = ("val", "test", "eval", "dev")
_METRIC = (*_HELD_OUT, "acc", "loss", "f1", "auc", "map", "bleu", "iou", "err", "ppl", "psnr", "score")
"""What the names of metrics are made of, those of a validation first."""
_HIGHER = re.compile(r"acc|f1|auc|map|bleu|iou|psnr|score|r2|reward|return|prec|recall")


class _Computed:
    """A default that the text does not say."""


COMPUTED = _Computed()


@dataclass(frozen=True)
class ScriptOption:
    """One option. `flag`: as it is given on the command line; `default`: COMPUTED where only running tells.

    `switch`: it takes no value and `default` is whether it is given; `negated`: giving it switches off.
    """

    flag: str
    default: Any = None
    kind: str | None = None
    choices: tuple[Any, ...] = ()
    required: bool = False
    switch: bool = False
    negated: bool = False
    positional: bool = False
    help: str = ""

    @property
    def key(self) -> str:
        """Its name as a key of the baseline: what stands behind the dashes."""
        return self.flag.lstrip("-")


@dataclass
class ScriptText:
    """What the text of a script says. `unseen`: what could not be read of it, in words."""

    options: list[ScriptOption] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def metric(self) -> tuple[str, str] | None:
        """Return the likeliest name of what a study would compare, and its mode."""
        named = {
            name: sum(len(_METRIC) - at for at, part in enumerate(_METRIC) if part in name.lower())
            for name in self.metrics
        }
        best = max(named, key=lambda name: named[name], default=None)
        if best is None or not named[best]:
            return None
        return best, "max" if _HIGHER.search(best.lower()) else "min"


def read_script(script: Path) -> ScriptText:
    """Read a script's argparse options, those in modules beside it too.

    Raises:
        InputError: it cannot be read, is no Python, or has no such options.
    """
    from orchestrator.study.imported import imported_by

    text = ScriptText()
    tree = _parsed(script)
    modules, imported = [tree], dict.fromkeys(imported_by(script.read_bytes(), script.name))
    for name in imported:
        beside = script.parent / f"{name.replace('.', '/')}.py"
        if beside.is_file() and beside.resolve() != script.resolve():
            modules.append(_parsed(beside))
    for module in modules:
        _read(module, text)
    if not text.options:
        others = sorted({name.partition(".")[0] for name in imported} & set(_OTHERS))
        by = f"; it uses {', '.join(others)}" if others else ""
        hint = "write the entrypoint by hand: {command: 'python ... --lr {lr}'}, see docs/commands.md"
        if "hydra" in others:
            hint = (
                "write the entrypoint by hand: {command: python ..., arguments: hydra}, see docs/recipes.md"
            )
        message = f"has no call of add_argument that could be read{by}"
        raise InputError(Fault(message, file=str(script), hint=hint))
    return text


def _parsed(path: Path) -> ast.Module:
    try:
        with tokenize.open(path) as stream:
            return ast.parse(stream.read())
    except SyntaxError as error:
        raise InputError(
            Fault(f"is no Python that can be read: {error.msg}", str(path), error.lineno)
        ) from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(Fault(f"cannot be read: {error}", str(path))) from None


def _read(tree: ast.Module, text: ScriptText) -> None:
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "add_argument":
            _add(node, names, text)
        elif called in ("add_subparsers", "add_argument_group", "set_defaults"):
            _group(called, node, text)
        elif called in _WRITERS and node.args:
            text.metrics += [name for name in _written(node.args[0]) if name not in text.metrics]


def _group(called: str, node: ast.Call, text: ScriptText) -> None:
    if called == "add_subparsers":
        text.unseen.append(
            f"line {node.lineno}: it has sub-commands; put the one that trains into the command"
        )
    elif called == "set_defaults":
        text.unseen.append(f"line {node.lineno}: set_defaults changes defaults; look at their values")


def _written(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Dict):
        yield from (
            key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )


def _add(node: ast.Call, names: dict[str, ast.expr], text: ScriptText) -> None:
    flags = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if not flags or len(flags) != len(node.args) or any(word.arg is None for word in node.keywords):
        text.unseen.append(f"line {node.lineno}: an option whose name or settings are computed")
        return
    words = {word.arg: word.value for word in node.keywords if word.arg}
    flag = next((one for one in flags if one.startswith("--")), flags[0])
    if flag in {option.flag for option in text.options} or flag in ("--help", "--version"):
        return
    action = _word(words.get("action")) or "store"
    if action not in ("store", "store_true", "store_false", "BooleanOptionalAction", "append", "extend"):
        text.unseen.append(f"line {node.lineno}: {flag} has action {action}")
        return
    default = _value(words["default"], names) if "default" in words else None
    described, positional = _word(words.get("help")), not flag.startswith("-")
    if action in ("store_true", "store_false"):
        option = ScriptOption(flag, False, switch=True, negated=action == "store_false", help=described)
    elif action == "BooleanOptionalAction":
        on = default is True
        flag = f"--no-{flag.lstrip('-')}" if on else flag
        option = ScriptOption(flag, False, switch=True, negated=on, help=described)
    else:
        choices = _value(words["choices"], names) if "choices" in words else ()
        required = _value(words["required"], names) is True if "required" in words else positional
        if default is COMPUTED:
            text.unseen.append(f"line {node.lineno}: the default of {flag} is computed")
        option = ScriptOption(
            flag,
            default,
            kind=_word(words.get("type")),
            choices=tuple(choices) if isinstance(choices, (list, tuple)) else (),
            required=required and default is None and _word(words.get("nargs")) not in ("?", "*"),
            positional=positional,
            help=described,
        )
    text.options.append(option)


def _word(node: ast.expr | None) -> str:
    """Return a text, or the last part of a name: `Path` of `pathlib.Path`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _value(node: ast.expr, names: dict[str, ast.expr]) -> Any:
    """Return what an expression says, as far as the text tells."""
    if isinstance(node, ast.Name) and node.id in names:
        return _value(names[node.id], {})
    if (
        isinstance(node, ast.Call)
        and _word(node.func) in ("Path", "str", "float", "int")
        and len(node.args) == 1
    ):
        return _value(node.args[0], names)
    if isinstance(node, ast.Call) and _word(node.func) in ("list", "keys", "sorted"):
        inner = node.args[0] if node.args else getattr(node.func, "value", node)
        found = COMPUTED if inner is node else _value(inner, names)
        return list(found) if isinstance(found, (list, tuple, dict, set)) else COMPUTED
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _dict_keys(node) or COMPUTED
    return value


def _dict_keys(node: ast.expr) -> list[Any] | None:
    """Return the keys of a dict whose values are code, `MODELS = {"mlp": MLP}`: its choices."""
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return [key.value for key in node.keys if isinstance(key, ast.Constant)]
    return None
