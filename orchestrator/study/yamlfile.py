"""The one YAML loader: safe, without YAML's surprises, and every value knows its line.

Differences from plain YAML 1.1: booleans are only `true` and `false` (`on`, `off`, `no` are words), `1e-3` is
a number, `010` is ten, dates and `1:30` are words. Duplicate keys, keys that are no words, foreign tags and
documents that grow when their aliases are expanded (alias bombs) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from orchestrator.errors import Fault, StudyError
from orchestrator.study.faults import Path, dotted

MAX_CHARACTERS = 64_000
"""Of one file, and of all files that extend each other: a hostile one takes under two seconds to refuse."""
MAX_WRITTEN = 400_000
MAX_BRACKETS = 5_000
MAX_DEPTH = 40
MAX_VALUES = 50_000


@dataclass(frozen=True)
class Place:
    """Where a value was written; `line` counts from 1, None for the command line."""

    file: str
    line: int | None = None


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and the place of each value."""

    data: Any
    places: Mapping[Path, Place] = field(default_factory=dict)


def parse_yaml(text: str, file: str, *, written: bool = False) -> Document:
    """Read one YAML document.

    Args:
        text: the document.
        file: where it lies, for faults.
        written: by `yaml.safe_dump`, and not by a person: its own rules for words are followed, and it is
            longer, since it has every default.

    Raises:
        StudyError: with every fault of the text; syntax faults come alone, as nothing after them is known.
    """
    most = MAX_WRITTEN if written else MAX_CHARACTERS
    if len(text) > most:
        raise StudyError(Fault(f"the file is longer than {most:,} characters", file=file))
    if written and text.count("[") + text.count("{") > MAX_BRACKETS:  # they take the square of their number
        raise StudyError(Fault(f"the file has more than {MAX_BRACKETS:,} brackets", file=file))
    try:
        root = yaml.compose(text, Loader=_Written if written else _Loader)
    except yaml.MarkedYAMLError as error:
        raise StudyError(_syntax_fault(error, file)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        position = getattr(error, "position", None)
        line = None if position is None else text.count("\n", 0, position) + 1
        message = f"not valid YAML: {getattr(error, 'reason', None) or error}"
        raise StudyError(Fault(message, file=file, line=line)) from None
    if root is None:
        return Document(None)
    reader = _Reader(file)
    data = reader.value(root, ())
    if reader.faults:
        raise StudyError(reader.faults)
    return Document(data, reader.places)


_Written: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML has its C library."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the rules of YAML 1.2 for scalars; it only composes, `_Reader` builds the values.

    PyYAML ends a word at a question mark inside `{...}`; in YAML 1.2 `{why: does it matter?}` is a mapping.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own)
    _in_word = False
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse deep nesting before the composer, which recurses, meets it."""
        nested = self.check_event(yaml.CollectionStartEvent)
        self._depth += nested
        if self._depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self._depth -= nested
        return node

    def check_key(self) -> bool:
        return self.peek(1) in _SPACE

    def check_plain(self) -> bool:
        return super().check_plain() or (self.peek() == "?" and self.peek(1) not in _SPACE + ",[]{}")

    def scan_plain(self) -> yaml.ScalarToken:
        self._in_word = True
        try:
            return super().scan_plain()
        finally:
            self._in_word = False

    def peek(self, index: int = 0) -> str:
        character = super().peek(index)
        return "x" if self._in_word and character == "?" else character


_SPACE = "\0 \t\r\n\x85\u2028\u2029"
_NULL, _BOOL, _INT, _FLOAT, _STR, _SEQ, _MAP, _MERGE = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
)
_DIGITS = r"[0-9](?:_?[0-9])*"
for _tag, _pattern, _first in (
    (_NULL, r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (_INT, rf"(?:[-+]?{_DIGITS}|0x[0-9a-fA-F]+|0o[0-7]+)", list("-+0123456789")),
    (
        _FLOAT,
        rf"(?:[-+]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+0123456789."),
    ),
    (_MERGE, r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^{_pattern}\Z"), _first)


def _syntax_fault(error: yaml.MarkedYAMLError, file: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "cannot be read"
    hint = None
    if "\\t" in problem:
        hint = "indent with spaces, not tabs"
    elif "mapping values are not allowed" in problem:
        hint = "a value that contains ': ' needs quotes; otherwise check the indentation of this line"
    elif error.context_mark is not None and mark is not None and error.context_mark.line != mark.line:
        hint = f"{error.context or 'this began'} at line {error.context_mark.line + 1}"
    return Fault(f"not valid YAML: {problem}", file=file, line=mark.line + 1 if mark else None, hint=hint)


class _Reader:
    """Builds plain data from composed nodes; collects faults instead of stopping at the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[Path, Place] = {}
        self.faults: list[Fault] = []
        self._open: list[int] = []  # nodes being built: an alias to one of them contains itself
        self._built = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.places.setdefault(path, self._place(node))
        self._built += 1
        if self._built > MAX_VALUES or len(self._open) > MAX_DEPTH:
            if not any("aliases expand" in fault.message for fault in self.faults):
                message = f"the aliases expand to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels"
                self._fault(node, path, message, "write the values out")
        elif id(node) in self._open:
            self._fault(node, path, "an alias refers to a mapping or list that contains it")
        elif isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        elif node.tag in (_SEQ, _MAP):
            self._open.append(id(node))
            try:
                if isinstance(node, yaml.MappingNode):
                    return self._mapping(node, path)
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            finally:
                self._open.pop()
        else:
            self._foreign_tag(node, path)
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged.append((key_node, value_node))
            elif (key := self._key(key_node, path)) is not None:
                at = (*path, key)
                if key in result:
                    hint = f"it is already given at line {self.places[at].line}; keep one of the two"
                    self._fault(key_node, at, f"the key {key!r} is given twice", hint)
                else:
                    self.places.setdefault(at, self._place(key_node))
                    result[key] = self.value(value_node, at)
        for key_node, value_node in merged:
            self._merge(result, key_node, value_node, path)
        return result

    def _merge(self, result: dict[str, Any], key_node: yaml.Node, node: yaml.Node, path: Path) -> None:
        """Add the content of a merge key `<<: *alias`; earlier sources win, as YAML says."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(source, path) if isinstance(source, yaml.MappingNode) else None
            if not isinstance(value, dict):
                self._fault(key_node, path, "'<<' takes an alias of a mapping, or a list of them")
                return
            for key, item in value.items():
                result.setdefault(key, item)

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, path, "a key must be a word, not a list or mapping")
            return None
        known = len(self.faults)
        key = self._scalar(node, path)
        if isinstance(key, str) and key:
            return key
        if len(self.faults) == known:
            shown = node.value[:40] or "nothing"
            self._fault(node, path, f"a key must be a word, not {shown}", "write it in quotes")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text, plain = node.value, node.value.replace("_", "")
        try:
            if node.tag == _STR:
                text.encode("utf-8")  # "\ud800" is valid YAML, but cannot be written to any file
                return text
            if node.tag == _BOOL:
                return {"true": True, "false": False}[text.lower()]
            if node.tag == _INT:
                return int(plain, {"0x": 16, "0o": 8}.get(plain[:2], 10))
            if node.tag == _FLOAT:
                return float(re.sub(r"\.(inf|nan)", r"\1", plain.lower()))
        except (ValueError, KeyError):
            kind = node.tag.rsplit(":", 1)[-1]
            self._fault(node, path, f"cannot be read as {kind}", value=repr(text[:40]))
        else:
            if node.tag != _NULL:
                self._foreign_tag(node, path)
        return None

    def _foreign_tag(self, node: yaml.Node, path: Path) -> None:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        if node.tag == _MERGE:
            self._fault(node, path, "'<<' is only a key", "write it in quotes")
        else:
            hint = "a study holds plain values only"
            self._fault(node, path, f"the tag {tag[:60]} is not allowed", hint)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def _fault(
        self, node: yaml.Node, path: Path, message: str, hint: str | None = None, value: str | None = None
    ) -> None:
        line = self._place(node).line
        self.faults.append(Fault(message, self.file, line, dotted(path) or None, value, hint))
