"""Find things of one kind by name: the built-in ones, and those that other packages bring.

A package brings one by an entry point in its pyproject.toml, in the group of the registry:

    [project.entry-points."orchestrator.stopping_rules"]
    median = "mypackage.rules:MEDIAN"

Names are known without an import; what a name stands for is imported when it is asked for. So `orchestrate
--help` and a study that uses none of them pay for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from orchestrator.errors import Fault, InputError
from orchestrator.study.faults import nearest

T = TypeVar("T")


class PluginError(InputError):
    """What a package has registered cannot be used."""


class OneOf:
    """Let a field of a pydantic model take the names of a registry, as `Annotated[str, OneOf(RULES)]`.

    `where`: only of those that fulfil a condition. Faults and JSON schema are those of a `Literal`.
    """

    def __init__(self, registry: Registry[Any], where: Callable[[Any], bool] | None = None) -> None:
        self.registry, self.where = registry, where

    def names(self) -> list[str]:
        """List the names that are valid."""
        return list(self.registry) if self.where is None else self.registry.names(self.where)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema()
        return core_schema.no_info_plain_validator_function(self._checked, serialization=text)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": self.names(), "type": "string"}

    def _checked(self, value: Any) -> Any:
        if value not in self.registry or not (self.where is None or self.where(self.registry.get(value))):
            names = [repr(name) for name in self.names()]
            listed = " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            raise PydanticKnownError("literal_error", {"expected": listed})
        return value


class Registry(Generic[T]):
    """Names of one kind and what each stands for: `T`, an object or a class.

    Args:
        noun: what people call one of them: "stopping rule".
        group: the entry points that add to it: "orchestrator.stopping_rules".
        built_in: name -> "module:attribute", in the order in which they are listed. A package cannot take
            such a name: it is looked up here only.
        accepts: whether what was imported is one of them; what is not is refused with the package's name.
    """

    def __init__(
        self, noun: str, group: str, built_in: Mapping[str, str], accepts: Callable[[object], bool]
    ) -> None:
        self.noun, self.group = noun, group
        self._built_in, self._accepts = dict(built_in), accepts
        self._loaded: dict[str, T] = {}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._built_in or name in _brought(self.group))

    def __iter__(self) -> Iterator[str]:
        """Yield the names: the built-in ones in their order, then those of packages by the alphabet."""
        yield from self._built_in
        yield from sorted(name for name in _brought(self.group) if name not in self._built_in)

    def names(self, where: Callable[[T], bool]) -> list[str]:
        """List the names of those that fulfil a condition; imports all."""
        return [name for name in self if where(self.get(name))]

    def get(self, name: str) -> T:
        """Import what the name stands for; the same object every time.

        Raises:
            InputError: no such name, with the nearest one.
            PluginError: a package registers it and it cannot be imported, is something else, or two packages
                register different things under it.
        """
        if name not in self._loaded:
            if name in self._built_in:
                self._loaded[name] = resolve_name(self._built_in[name])
            elif name in self:
                self._loaded[name] = self._from_package(name, _brought(self.group)[name])
            else:
                raise InputError(Fault(f"there is no {self.noun} {name!r}", hint=nearest(name, self)))
        return self._loaded[name]

    def _from_package(self, name: str, points: tuple[EntryPoint, ...]) -> T:
        first = points[0]
        what = f"the {self.noun} {name!r} of {_package(first)}"
        if len(points) > 1:
            packages = " and ".join(sorted(map(_package, points)))
            raise PluginError(Fault(f"{packages} both register a {self.noun} {name!r}", hint="remove one"))
        try:
            found = first.load()
        except Exception as error:  # it is the package's code that runs here
            told = f"{what} cannot be imported from {first.value}: {type(error).__name__}: {error}"
            raise PluginError(Fault(told, hint="repair or remove the package")) from error
        if not self._accepts(found):
            raise PluginError(Fault(f"{what}, {first.value}, is no {self.noun} but {type(found).__name__}"))
        return cast("T", found)


@cache
def _brought(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Every name that installed packages register in the group, with what they register, each once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist is not None else f"the module {point.module}"
