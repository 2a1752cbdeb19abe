"""Tables of a page, sorted and cut into parts by the server, as the page's address asks for.

Pure: rows in, rows out. Addresses are built of names that are known: no others of a query are repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

MOST_ROWS = 50
"""Of a table at once: a phone can still draw it."""
MOST_LETTERS = 200
"""Of a word in an address."""
_NUMBER = re.compile(r"(\d{1,12})")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Asked:
    """What the address of a page asks for, by name; what the page does not know of is passed over."""

    words: Mapping[str, str]

    @classmethod
    def of(cls, query: Mapping[str, str], *known: str) -> Asked:
        """Return what is known of a query."""
        return cls({name: query[name][:MOST_LETTERS] for name in known if query.get(name)})

    def __getitem__(self, name: str) -> str:
        return self.words.get(name, "")

    def number(self, name: str) -> int:
        """Return a whole number; 0 for anything else."""
        said = self[name]
        return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0

    def but(self, **changes: str | int) -> str:
        """Return the query of the same page with something else; what is empty is left out."""
        words = {**self.words, **{name: str(value or "") for name, value in changes.items()}}
        return "?" + urlencode({name: word for name, word in words.items() if word}, errors="replace")


@dataclass(frozen=True)
class TableColumn(Generic[Row]):
    """One column. `key`: what its rows are sorted by, None for a row with nothing there; no key: unsorted."""

    name: str
    label: str
    key: Callable[[Row], Any] | None = None
    number: bool = False


@dataclass(frozen=True)
class Head:
    """The head of a column as it is drawn. `order`: the value of aria-sort; `href`: to the next order."""

    id: str
    label: str
    number: bool
    order: str = "none"
    href: str = ""


@dataclass(frozen=True)
class ShownRows(Generic[Row]):
    """The rows of a table that one page shows. `before`, `after`: where the others are, or nothing."""

    name: str
    heads: tuple[Head, ...]
    rows: Sequence[Row]
    first: int
    all: int
    before: str
    after: str

    def drawn(self, draw: Callable[[Row], Any]) -> ShownRows[Any]:
        """Return the same part with every row as it is shown."""
        return replace(self, rows=[draw(row) for row in self.rows])


def part_of(
    name: str, columns: Sequence[TableColumn[Row]], rows: Sequence[Row], asked: Asked
) -> ShownRows[Row]:
    """Return the part of a table that is asked for.

    Args:
        name: of the table; in the address it names a column, with `-` before it for the other direction, and
            as `NAME_first` how many rows are on the parts before this one.
        columns: from left to right.
        rows: in the order that they have when nobody asks for another one, and where they are alike.
        asked: what the address says.
    """
    said = asked[name]
    column = next((one for one in columns if one.key and one.name == said.removeprefix("-")), None)
    if column is not None and column.key is not None:
        rows = ordered(rows, column.key, descending=said.startswith("-"))
    start = f"{name}_first"
    first = min(asked.number(start), max(0, len(rows) - 1)) // MOST_ROWS * MOST_ROWS

    def head(one: TableColumn[Row]) -> Head:
        place = f"{name}-{one.name}"
        if one.key is None:
            return Head(place, one.label, one.number)
        order, then = "none", one.name
        if one is column:
            order, then = ("descending", "") if said.startswith("-") else ("ascending", f"-{one.name}")
        # a fragment that is a link gets the focus: the next key finds the same head
        return Head(place, one.label, one.number, order, f"{asked.but(**{name: then, start: ''})}#{place}")

    def other(row: int) -> str:
        return f"{asked.but(**{start: row})}#{name}" if 0 <= row < len(rows) else ""

    return ShownRows(
        name,
        tuple(map(head, columns)),
        rows[first : first + MOST_ROWS],
        first,
        len(rows),
        other(first - MOST_ROWS),
        other(first + MOST_ROWS),
    )


def ordered(rows: Sequence[Row], key: Callable[[Row], Any], *, descending: bool) -> list[Row]:
    """Return the rows sorted; alike ones stay in their order, those without a key are last either way."""
    keyed = [(key(row), row) for row in rows]
    there = sorted(
        (pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=descending
    )
    return [row for _, row in there] + [row for found, row in keyed if found is None]


def natural(name: str) -> list[Any]:
    """Return a key for names: `part_2` comes before `part_10`, and case does not count."""
    return [int(part) if index % 2 else part for index, part in enumerate(_NUMBER.split(name.casefold()))]
