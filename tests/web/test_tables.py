"""Tables that the server sorts and cuts into parts: every row once, in one order, whatever is asked for."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.web.tables import MOST_LETTERS, MOST_ROWS, Asked, TableColumn, natural, ordered, part_of

Row = tuple[str, float | None]
COLUMNS: tuple[TableColumn[Row], ...] = (
    TableColumn("name", "name", lambda row: natural(row[0])),
    TableColumn("value", "value", lambda row: row[1], number=True),
    TableColumn("more", "more"),
)
ROWS: list[Row] = [(f"part_{number}", None if number % 7 == 0 else number % 5) for number in range(250)]
KNOWN = ("words", "rows", "rows_first")


def asked(query: str) -> Asked:
    return Asked.of({name: words[0] for name, words in parse_qs(query).items()}, *KNOWN)


@pytest.mark.parametrize("descending", [False, True])
def test_alike_rows_stay_in_their_order_and_empty_ones_are_last(descending: bool) -> None:
    rows = ordered(ROWS, COLUMNS[1].key or len, descending=descending)
    values = [value for _, value in rows]
    there = [value for value in values if value is not None]
    assert there == sorted(there, reverse=descending)
    assert values[len(there) :] == [None] * (len(values) - len(there))
    for value in {None, *there}:
        assert [row for row in rows if row[1] == value] == [row for row in ROWS if row[1] == value]


def test_names_are_sorted_as_people_count() -> None:
    names = ["Part_2", "part_10", "part_1", "part", "a=b", "2x", "10x"]
    assert sorted(names, key=natural) == ["2x", "10x", "a=b", "part", "part_1", "Part_2", "part_10"]


def test_the_parts_of_a_table_are_the_table() -> None:
    seen: list[Row] = []
    query = "?words=x&rows=-value"
    while query:
        part = part_of("rows", COLUMNS, ROWS, asked(query[1:]))
        assert part.first == len(seen)
        seen += part.rows
        assert part.all == len(ROWS)
        query = part.after.partition("#")[0]
    assert len(seen) == len(ROWS)
    assert seen == ordered(ROWS, COLUMNS[1].key or len, descending=True)
    assert part.before == f"?words=x&rows=-value&rows_first={part.first - MOST_ROWS}#rows"


def test_a_head_leads_to_the_next_order_and_back_to_the_first_part() -> None:
    found, query = [], "?rows_first=100"
    for _ in range(4):
        name, value, more = part_of("rows", COLUMNS, ROWS, asked(query[1:])).heads
        found.append((name.order, value.order, query))
        query = value.href.partition("#")[0]
    assert found == [
        ("none", "none", "?rows_first=100"),
        ("none", "ascending", "?rows=value"),
        ("none", "descending", "?rows=-value"),
        ("none", "none", "?"),
    ]
    assert value.href.endswith(f"#{value.id}")
    assert (more.href, more.order) == ("", "none")


WORDS = st.one_of(
    st.text(), st.sampled_from(["value", "-value", "more", "--name", "0", "150", "9" * 30, "-1", "²"])
)


@given(st.dictionaries(st.one_of(st.sampled_from(KNOWN), st.text()), WORDS))
def test_whatever_is_asked_gives_rows_of_the_table_and_short_addresses(query: dict[str, str]) -> None:
    part = part_of("rows", COLUMNS, ROWS, Asked.of(query, *KNOWN))
    assert 0 < len(part.rows) <= MOST_ROWS
    assert set(part.rows) <= set(ROWS)
    for address in (part.before, part.after, *(head.href for head in part.heads)):
        said = parse_qs(address.partition("#")[0][1:], keep_blank_values=True)
        assert set(said) <= set(KNOWN)
        assert all(len(word) <= MOST_LETTERS for words in said.values() for word in words)


def test_zero_can_be_looked_for() -> None:
    assert Asked.of({"words": "0"}, *KNOWN).but(rows="name", rows_first=0) == "?words=0&rows=name"
