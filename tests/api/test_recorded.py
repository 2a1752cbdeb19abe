"""Reading a study from Python: tables, report, and what a notebook shows. Records of an earlier version."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator import open_study
from orchestrator.api.datatable import DataTable, table_of
from orchestrator.api.recorded import OpenedStudy
from orchestrator.errors import InputError

FIXTURES = Path(__file__).parents[1] / "fixtures"
STUDIES = ("resolve-reinvest", "tune", "resumed", "left")


@pytest.fixture(params=STUDIES, scope="module")
def recorded(request: pytest.FixtureRequest) -> OpenedStudy:
    return open_study(FIXTURES / "records" / request.param)


def expected(recorded: OpenedStudy, name: str) -> Any:
    return json.loads((FIXTURES / "expected" / recorded.name / f"{name}.json").read_text())


class Texts(HTMLParser):
    """The texts of a page, and that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_effects_are_those_of_the_report(recorded: OpenedStudy) -> None:
    effects = recorded.effects()
    wanted = expected(recorded, "effects")
    first = [row for row in effects.rows() if row["phase"] == wanted["phase"]]
    for row, of_json in zip(first, wanted["effects"], strict=True):
        assert {key: row[key] for key in ("arm", "n", "delta", "lo", "hi", "p", "verdict")} == {
            key: of_json[key] for key in ("arm", "n", "delta", "lo", "hi", "p", "verdict")
        }


def test_results_have_every_trial(recorded: OpenedStudy) -> None:
    results = recorded.results()
    plan = recorded.view().plan
    assert results["cell"] == [cell.cell for cell in plan.cells]
    assert len(results) == len(recorded.status().cells)


def test_metrics_of_every_trial(recorded: OpenedStudy) -> None:
    metric = recorded.spec.metric.name
    for row in recorded.results().rows():
        table = recorded.metrics(row["arm"], row["seed"], row["sample"])
        if row["state"] == "done" and row["phase"] != "tune":
            assert table[metric][-1] is not None
            assert table["report"] == list(range(1, len(table) + 1))


@pytest.mark.slow
def test_to_pandas(recorded: OpenedStudy) -> None:
    pandas = pytest.importorskip("pandas")
    frame = recorded.effects().to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["arm"]) == recorded.effects()["arm"]


@pytest.mark.slow
@pytest.mark.parametrize("recorded", ["resolve-reinvest"], indirect=True)
def test_what_a_notebook_shows(recorded: OpenedStudy) -> None:
    report = recorded.report()
    arms = [effect.arm for effect in report.first.all_effects]
    for shown in (recorded.effects(), report):
        assert set(arms) <= set(Texts(shown._repr_html_()).texts)
    assert "data:image/png;base64," in report._repr_html_()
    assert {arm.name for arm in recorded.view().plan.arms} <= set(Texts(recorded._repr_html_()).texts)
    Texts(recorded.results()._repr_html_())


def test_nothing_in_a_notebook_is_markup() -> None:
    table = table_of([{"<b>arm</b>": "<script>alert(1)</script>"}], {"<b>arm</b>": "text"})
    page = table._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<script>alert(1)</script>" in Texts(page).texts


def test_long_tables_are_cut(recorded: OpenedStudy) -> None:
    table = table_of([{"n": number} for number in range(25)], {"n": "integer"})
    assert "and 5 more rows" in Texts(table._repr_html_()).texts
    assert len(table) == len(table.to_pandas()) == 25


def test_an_unknown_trial_is_refused_with_what_there_is() -> None:
    recorded = open_study("tune", str(FIXTURES / "records"))
    with pytest.raises(InputError, match="no such arm"):
        recorded.metrics("nobody", 0)
    with pytest.raises(InputError, match=r"no such seed.*valid: "):
        recorded.metrics("baseline", 99)


def test_arrow_readers_take_a_table(recorded: OpenedStudy) -> None:
    import pyarrow as pa

    results = recorded.results()
    assert isinstance(results, DataTable)
    assert pa.table(results).equals(results.arrow)


def test_nobody_to_stop(recorded: OpenedStudy) -> None:
    assert recorded.stop() is None
