"""Studies side by side: what differs between them, their effects where those are alike, their curves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from served_site import STUDY, Served, serve, write_files

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, Noted, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.reporting.model import Curve
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study
from orchestrator.web.comparefigure import MOST_POINTS, StudyCurve, figure_of
from orchestrator.web.livepages import SOON_S, look_at_some
from orchestrator.web.sidebyside import MOST_ROWS, settings_of

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>"


def recorded(root: Path, name: str, *changes: tuple[str, str], worth: float = 0.5) -> StudyRecord:
    """A finished study: arm `kind=vit` is better than the baseline by `worth`, the others a little worse."""
    text = STUDY.replace("name: small", f"name: {name}").replace("seeds: 2", "seeds: 3")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = root / "configs" / f"{name}.yaml"
    file.write_text(text)
    spec = load_study(file).spec
    record = StudyRecord.open(
        Storage.open(root / "runs"), spec, make_plan(spec), Start("0" * 64), clock=lambda: 1000.0
    )
    for cell in record.plan.cells:
        value = 2.0 + 0.01 * cell.seed - (worth + 0.001 * cell.seed**2 if cell.arm == "kind=vit" else 0.0)
        record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, "lane-0", None))
        end = (TrialState.DONE, None, None, 3.0, value)
        record.append(TrialEnd(cell.cell, cell.arm, cell.seed, 1, *end, wall_s=60.0, gpu_s=0.0))
        trial = record.storage.local_path(StudyPaths(name).trial(cell.arm, cell.seed).table("metrics").jsonl)
        trial.parent.mkdir(parents=True)
        rows = [{"epoch": epoch, "loss": value + 3 - epoch} for epoch in (1, 2, 3)]
        trial.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    record.close()
    return record


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    recorded(tmp_path, "first")
    recorded(
        tmp_path, "second", ("width: 32", "width: 64"), ("swap: {vit", "swap: {big: {model.kind: big}, vit")
    )
    return serve(tmp_path)


def table(page: str, name: str) -> list[list[str]]:
    """Rows of a table as lists of words."""
    part = page[page.index(f'aria-label="{name}') :].partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in part.split("</tr>")]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in rows if row]


def test_what_differs_between_two_studies(served: Served) -> None:
    page = served.client.get("/compare?study=first&study=second").text
    assert "<h1>first, second</h1>" in page
    assert "orchestrate report runs/first runs/second</code>" in page
    settings = {row[0]: row[1:] for row in table(page, "settings")}
    assert settings["baseline.model.width"] == ["32", "64"]
    assert settings["components.kind.swap.big.model.kind"] == ["–", "big"]
    assert "baseline.optim.lr" not in settings
    assert "name" not in settings
    same = re.search(r"(\d+) settings are the same", page)
    assert same is not None
    assert int(same[1]) > 20
    facts = {row[0]: row[1:] for row in table(page, "facts")}
    assert facts["cells"] == ["12 of 12 answered", "15 of 15 answered", "differs"]
    assert facts["metric"] == ["loss (min)", "loss (min)", "same"]
    assert facts["compute spent"] == ["12 min", "15 min", "differs"]
    assert facts["entrypoint"][0] == "trial:train"


def test_arms_of_the_same_name_stand_beside_each_other(served: Served) -> None:
    recorded(served.root, "third", worth=0.75)
    page = served.client.get("/compare?study=first&study=third&study=second").text
    rows = {row[0]: row[1:] for row in table(page, "effects on loss")}
    first, third, second = rows["kind=vit"]
    assert first.startswith("Δ −0.50")
    assert third.startswith("Δ −0.75")
    assert "n = 3" in first
    assert "helps" in first
    assert "Δ − Δ of the first" not in first
    assert "Δ − Δ of the first: −0.25" in third
    assert "Δ − Δ of the first: 0 " in second
    assert rows["kind=big not in all of them"][:2] == ["–", "–"]
    assert list(rows)[-1] == "kind=big not in all of them"
    assert "orchestrate report" not in page  # the command takes two


@pytest.mark.parametrize(
    "change", [("name: loss", "name: error"), ("mode: min", "mode: max")], ids=["metric", "mode"]
)
def test_effects_on_different_things_are_not_put_beside_each_other(
    served: Served, change: tuple[str, str]
) -> None:
    recorded(served.root, "other", change)
    page = served.client.get("/compare?study=first&study=other").text
    assert "Their Δ are not the same thing: each metric has a table of its own" in page
    assert len(re.findall(r'aria-label="effects on', page)) == 2
    assert all(len(row) == 2 for row in table(page, "effects on"))
    assert "Δ − Δ" not in page
    assert page.count("data-figure=") == (2 if change[0].startswith("name") else 1)
    found = served.site.studies.named("first"), served.site.studies.named("other")
    first, other = (OpenedStudy(served.site.storage, kept.run.paths) for kept in found if kept is not None)
    assert all(row.gap is None for row in first.compare(other).differences)


def test_curves_over_each_other_are_a_figure(served: Served) -> None:
    page = served.client.get("/compare?study=first&study=second&arm=kind=mlp").text
    (source,) = re.findall(r'data-figure="([^"]+)"', page)
    assert '<option value="kind=mlp" selected>' in page
    address = source.replace("&amp;", "&").removeprefix(served.site.sessions.base)
    answer = served.client.get(address)
    figure = answer.json()
    lines = [trace for trace in figure["data"] if "fill" not in trace]
    assert [(trace["name"], trace["line"]["dash"]) for trace in lines] == [
        *(("first: baseline", "solid"), ("first: kind=mlp", "dash")),
        *(("second: baseline", "solid"), ("second: kind=mlp", "dash")),
    ]
    assert lines[0]["x"] == [1, 2, 3]
    assert lines[0]["y"] == pytest.approx([4.01, 3.01, 2.01])
    assert lines[0]["customdata"] == [3, 3, 3]
    assert lines[0]["line"]["color"] != lines[2]["line"]["color"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "epoch"
    again = served.client.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_figure_is_bounded_and_holds_no_markup() -> None:
    many = 20_000
    ends = tuple(map(float, range(many)))
    curve = Curve(HOSTILE, ends, ends, (None, *ends[1:]), (None, *ends[1:]), (2,) * many)
    figure = figure_of([StudyCurve("<b>x</b>", 0, curve, is_reference=True)], "<a href=x>m</a>", "\x1bunit")
    text = json.dumps(figure)
    assert "<" not in text
    assert "\\u001b" not in text
    assert len(figure["data"][0]["x"]) <= MOST_POINTS + 1
    assert figure["data"][0]["x"][-1] == many - 1
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    nothing = figure_of([], "loss", "epoch")
    assert nothing["layout"]["annotations"][0]["text"] == "nothing has been reported yet"


def test_only_settings_that_differ_are_shown_and_not_too_many() -> None:
    wide: dict[str, Any] = {"name": "a", "storage": "x", "same": 1, **{f"key{n}": n for n in range(900)}}
    other = {**wide, "name": "b", "storage": "y"} | {f"key{n}": "v" * 9000 for n in range(900)}
    found = settings_of([wide, other])
    assert (found["same"], len(found["rows"]), found["more"]) == (1, MOST_ROWS, 900 - MOST_ROWS)
    assert max(len(value) for _, values in found["rows"] for value in values) < 300
    kinds = settings_of([{"a": 1, "b": True, "c": {}}, {"a": 1, "b": "true", "c": {"d": [1]}}])
    assert kinds["rows"] == [("b", ["true", '"true"']), ("c", ["{}", "–"]), ("c.d", ["–", "[1]"])]


def test_the_page_is_told_of_what_is_new_in_each_of_its_studies(served: Served) -> None:
    query = "study=first&study=second"
    text = served.client.get(f"/compare?{query}").text
    stream = f"{served.site.sessions.base}/compare/events?{query}".replace("&", "&amp;")
    assert f'data-events="{stream}"' in text
    for wrong in ("study=first", "study=first&study=none", "study=first&study=%1b"):
        assert served.client.get(f"/compare/events?{wrong}").status_code in (400, 404)
    seen = look_at_some(served.site, ["first", "second"])
    assert look_at_some(served.site, ["first", "second"]) == seen
    spec = load_study(served.root / "configs" / "second.yaml").spec
    record = StudyRecord.open(Storage.open(served.root / "runs"), spec, make_plan(spec), Start("0" * 64))
    version, pause_s = look_at_some(served.site, ["first", "second"])
    assert (version != seen[0], pause_s) == (True, SOON_S)  # one of them runs
    record.close()


def test_a_page_that_has_not_changed_is_not_sent_again(served: Served) -> None:
    address = "/compare?study=first&study=second"
    known = re.search(r'data-tag="([^"]*)"', served.client.get(address).text)
    assert known is not None
    same = {"If-None-Match": known[1].replace("&#34;", '"')}
    answer = served.client.get(address, headers=same)
    assert (answer.status_code, answer.content) == (304, b"")
    spec = load_study(served.root / "configs" / "first.yaml").spec
    record = StudyRecord.open(Storage.open(served.root / "runs"), spec, make_plan(spec), Start("0" * 64))
    record.append(Noted("something new"))
    record.close()
    assert served.client.get(address, headers=same).status_code == 200


def test_too_few_too_many_and_none_of_that_name(served: Served) -> None:
    for names in ([], ["first"], ["first", "first"]):
        answer = served.client.get("/compare", params={"study": names})
        assert (answer.status_code, "Tick two to four" in answer.text) == (400, True)
    assert served.client.get("/compare?study=a&study=b&study=c&study=d&study=e").status_code == 400
    assert served.client.get("/compare?study=first&study=none").status_code == 404
    assert served.client.get("/compare?study=first&study=%1b").status_code == 400
    assert served.client.get("/compare/curves.json").status_code == 400


def test_hostile_settings_and_arms_are_inert(served: Served) -> None:
    study = served.root / "runs" / "second"
    for file, old in (("study.yaml", "kind: cnn"), ("plan.json", '"no-batchnorm"')):
        text = (study / file).read_text()
        assert old in text
        new = f"kind: {json.dumps(HOSTILE * 9)}" if file == "study.yaml" else json.dumps(HOSTILE)
        (study / file).write_text(text.replace(old, new))
    page = served.client.get("/compare?study=first&study=second").text
    assert "&lt;img src=x" in page
    assert "<img" not in page
    figure = served.client.get("/compare/curves.json", params={"study": "second", "arm": HOSTILE}).text
    assert "<img" not in figure


def test_ticks_of_the_list_lead_there(served: Served) -> None:
    page = served.client.get("/").text
    ticks = re.findall(r'<input type="checkbox" class="tick" form="compare" name="study" value="(\w+)"', page)
    assert ticks == ["first", "second"]
    assert f'<form class="actions" id="compare" action="{served.site.sessions.base}/compare">' in page
