"""The study file of a script: what its command-line options say, and what they leave open."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.cli.scriptoptions import COMPUTED, ScriptOption, ScriptText
from orchestrator.study.visible import visible

_SEED = re.compile(r"(random|manual|rng|global|train)?[-_]?seed")
_LENGTHS = (
    ("epoch", re.compile(r"((n|num|max|total|train|num[-_]train|max[-_]train)[-_]?)?(epochs?|ep)")),
    ("step", re.compile(r"((n|num|max|total|train)[-_]?)*(steps|iters|iterations|updates)")),
)
_OUTPUT = re.compile(
    r"(out|output|outdir|logdir|savedir|workdir|(out|output|save|log|work|result|results|ckpt|checkpoint|"
    r"checkpoints|run|exp|tb|tensorboard|model)[-_](dir|path|folder))"
)
_RESUME = re.compile(
    r"resume([-_](from|path|checkpoint|from[-_]checkpoint))?|(load|restore)[-_](from|path|checkpoint)"
)
_COMMAND = re.compile(r"[A-Za-z./][\w./ ={}-]*(?<! )", flags=re.ASCII)
_NO_CHANGE = re.compile(
    r"(num[-_]|n[-_])?workers|device|gpus?|(use[-_]|no[-_])?cuda|verbose|quiet|debug|local[-_]rank|port|(log|print|save|eval)"
    r"[-_](every|interval|freq|level)|wandb.*|project|cpu|(no[-_])?(progress|tqdm|plot).*"
)
"""Options that belong to the run and not to the method: no examples of components."""


def study_text(script: ScriptText, command: str, name: str) -> str:
    """Return the study file. `command`: what starts the script, without options."""
    given, kept = _split(script.options)
    unit, length = _length(script.options)
    found = script.metric()
    metric, mode = found or ("val/loss", "min")
    unsure = "" if found else "  # what the script writes as {metric}: JSON lines, or a TensorBoard scalar"
    words = " ".join([command, *given])
    lines = [
        f"name: {name}",
        "entrypoint:",
        f"  command: {words if _COMMAND.fullmatch(words) else _yaml(words)}",
        "  arguments: argparse  # every key of the baseline is added as --key value",
        *_resume(script.options),
        f"metric: {{name: {_yaml(metric)}, mode: {mode}}}{unsure.replace('{metric}', metric)}",
        "baseline:" if kept else "baseline: {}",
        *(f"  {line}" for option in kept for line in _setting(option)),
        "# components:  # what is taken away (without) or exchanged (swap), such as",
        *(f"#   {line}" for line in _components(kept)),
        "seeds: 3",
        f"stopping: {{max: {length}, unit: {unit}}}"
        + (
            ""
            if any("{max_length}" in word for word in given)
            else "  # the script has no option for its length"
        ),
    ]
    return "\n".join(lines) + "\n"


def open_points(script: ScriptText) -> list[str]:
    """Return what has to be looked at by a person, in words."""
    points = list(script.unseen)
    given, kept = _split(script.options)
    if not any("{seed}" in word for word in given):
        points.append("no option for the seed: all seeds would be the same run")
    if not any("{max_length}" in word for word in given):
        points.append("no option for the length: stopping.max has to be what the script does by itself")
    if script.metric() is None:
        points.append("no metric was seen: set metric.name to what the script writes")
    points += [f"{option.flag} is required and has no default" for option in kept if option.required]
    points += [
        f"{one.flag} is a positional argument; look at the command"
        for one in script.options
        if one.positional
    ]
    return points


def _split(options: list[ScriptOption]) -> tuple[list[str], list[ScriptOption]]:
    """Return the words that the command itself has, and the options that are keys of the baseline."""
    given: list[str] = []
    kept: list[ScriptOption] = []
    taken: set[str] = set()
    for option in options:
        filled = _filled(option, taken)
        if filled is not None:
            given += [option.flag, filled]
        elif option.positional:
            given.append(_literal(option))
        elif option.default is not COMPUTED and not (
            not option.default and _RESUME.fullmatch(option.key.lower())
        ):
            kept.append(option)
    return given, kept


def _filled(option: ScriptOption, taken: set[str]) -> str | None:
    """Return the placeholder that an option gets; each has one option."""
    key = option.key.lower()
    if option.switch or option.positional:
        return None
    kinds = [("{seed}", _SEED), *(("{max_length}", pattern) for _, pattern in _LENGTHS)]
    for placeholder, pattern in kinds:
        if pattern.fullmatch(key) and placeholder not in taken:
            taken.add(placeholder)
            return placeholder
    if _OUTPUT.fullmatch(key) and (option.default is not None or option.required):
        return "{trial_dir}" + (
            "/out" if option.default is COMPUTED or option.required else _below(option.default)
        )
    return None


def _below(default: Any) -> str:
    path = Path(str(default))
    parts = [part for part in path.parts if part not in ("/", "..", ".", "~")]
    return "".join(
        f"/{part.replace('{', '').replace('}', '')}" for part in (parts[-1:] if path.is_absolute() else parts)
    )


def _length(options: list[ScriptOption]) -> tuple[str, Any]:
    for option in options:
        for unit, pattern in _LENGTHS:
            if pattern.fullmatch(option.key.lower()) and not option.switch and not option.positional:
                whole = isinstance(option.default, (int, float)) and option.default >= 1
                return unit, int(option.default) if whole else 10
    return "epoch", 10


def _literal(option: ScriptOption) -> str:
    value = (
        option.default
        if option.default not in (None, COMPUTED)
        else next(iter(option.choices), f"FILL-IN-{option.key}")
    )
    return shlex.quote(str(value)).replace("{", "{{").replace("}", "}}")


def _setting(option: ScriptOption) -> Iterator[str]:
    value, said = option.default, []
    if option.required and value is None:
        value = next(iter(option.choices), {"int": 1, "float": 1.0}.get(option.kind or "", "FILL-IN"))
        said.append("required: fill it in")
    if option.choices:
        said.append(visible("one of " + ", ".join(map(str, option.choices)))[:100].replace("\n", " "))
    if option.negated:
        said.append("true gives it, and switches off")
    elif option.help and not option.choices:
        said.append(" ".join(visible(option.help.replace("%", "")).split())[:60])
    text = f"{_key(option.key)}: {_yaml(value)}"
    yield f"{text}  # {'; '.join(said)}" if said else text


def _components(kept: list[ScriptOption]) -> Iterator[str]:
    """Show examples: what switches something off, and what can be exchanged."""
    examples = 0
    for option in kept:
        if _NO_CHANGE.fullmatch(option.key.lower()):
            continue
        key = option.key
        name = re.sub(r"^(no|use|with|enable|disable|without)[-_]", "", key)
        if option.switch and (option.negated or re.match(r"(no|disable|without)[-_]", key)):
            yield f"{_key(name)}: {{without: {{{_key(key)}: true}}}}"
        elif option.switch:
            yield f"{_key(name)}: {{without: {{{_key(key)}: false}}}}  # once it is true in the baseline"
        elif others := [choice for choice in option.choices if choice != option.default][:4]:
            named = {_named(choice): choice for choice in others}
            swaps = ", ".join(f"{one}: {{{_key(key)}: {_yaml(choice)}}}" for one, choice in named.items())
            yield f"{_key(name)}: {{swap: {{{swaps}}}}}"
        elif type(option.default) in (int, float) and _regular(key) and option.default:
            nought = _yaml(type(option.default)(0))
            yield f"{_key(name)}: {{without: {{{_key(key)}: {nought}}}}}"
        else:
            continue
        examples += 1
        if examples == 12:
            return
    if not examples:
        yield "dropout: {without: {dropout: 0.0}}  # with a key of the baseline"


def _regular(key: str) -> bool:
    """Whether nought switches it off, by its name."""
    return bool(
        re.search(
            r"drop|decay|clip|smooth|mixup|cutmix|warmup|noise|momentum|aug|ema|reg|lambda|beta", key.lower()
        )
    )


def _resume(options: list[ScriptOption]) -> Iterator[str]:
    for option in options:
        if _RESUME.fullmatch(option.key.lower()) and not option.switch and not option.positional:
            yield f"  # resume: {option.flag} {{checkpoint}}"
            yield "  # checkpoint: out/*.pt            # where the script leaves what it can go on from"
            return


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][\w.-]*", key) and key.lower() not in _WORDS else json.dumps(key)


_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def _named(choice: Any) -> str:
    """Return a choice as the name of an alternative."""
    return _key(re.sub(r"[^\w.-]+", "-", str(choice), flags=re.ASCII).strip("-.") or "empty")


def _quoted(text: str) -> str:
    """Return a text in double quotes, with escapes for what is not to be seen."""
    return "".join(
        letter if letter.isprintable() else f"\\U{ord(letter):08x}"
        for letter in json.dumps(text, ensure_ascii=False)
    )


def _yaml(value: Any) -> str:
    """Return a value as YAML has it on one line."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if isinstance(value, str):
        plain = (
            re.fullmatch(r"[A-Za-z./][\w./ =-]*(?<! )", value, flags=re.ASCII) and value.lower() not in _WORDS
        )
        return value if plain and not value.startswith("...") else _quoted(value)
    if isinstance(value, (set, frozenset, tuple, list)):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(str(key))}: {_yaml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if value is None or isinstance(value, (bool, int)) else _quoted(str(value))
