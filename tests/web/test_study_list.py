"""The list of studies: what it says of each, how it is searched and sorted, and what a look at it costs."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served_site import Served, record_study, serve, waiting, write_files

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.record.storage.directory import Directory
from orchestrator.web.studylist import STATES, state_of

EFFECT = {
    "arm": "kind=vit",
    "kind": "main",
    "n": 3,
    "delta": -0.125,
    "lo": -0.2,
    "hi": -0.05,
    "verdict": "helps",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("listed")
    write_files(root)
    record_study(root)
    return root


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Served:
    return serve(shutil.copytree(folder, tmp_path, dirs_exist_ok=True))


def again(served: Served, name: str, **env: str) -> Path:
    """Record the same study under another name, with what env.json says of its start."""
    there = shutil.copytree(served.root / "runs" / "small", served.root / "runs" / name)
    (there / "env.json").write_text(json.dumps({"code_hash": "0" * 64, **env}))
    return there


def says(study: Path, *effects: dict[str, Any], mode: str = "min") -> None:
    (study / "effects.json").write_text(json.dumps({"mode": mode, "effects": [*effects]}))


def names(served: Served, query: str = "") -> list[str]:
    page = served.client.get(f"/{query}").text
    rows = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return re.findall(r"<th>(?:<a [^>]*>)?([^<]+)<", rows)


def row(served: Served, name: str) -> str:
    page = served.client.get("/").text
    return page[page.index(f">{name}<") :].partition("</tr>")[0]


def test_what_the_list_says_of_a_study(served: Served) -> None:
    says(again(served, "other", by="ada@lab"), EFFECT, {**EFFECT, "arm": "kind=mlp", "delta": 0.5})
    said = row(served, "other")
    for words in ("trial:train", "interrupted", "ada@lab", "kind=vit", "Δ −0.125", "[−0.2, −0.05]", "helps"):
        assert words in said
    assert "kind=mlp" not in said
    assert "ada@lab" not in row(served, "small")  # an earlier version did not record it
    assert "0 s" in said  # the clock of its record stands still


def test_the_best_effect_is_best_for_the_metric(served: Served) -> None:
    worse = {**EFFECT, "arm": "kind=mlp", "delta": 0.5}
    for name, mode, best in (("low", "min", "kind=vit"), ("high", "max", "kind=mlp")):
        says(again(served, name), EFFECT, worse, {**EFFECT, "kind": "interaction", "delta": -9.0}, mode=mode)
        assert best in row(served, name)
    says(again(served, "none"), {**EFFECT, "n": 0}, {**EFFECT, "delta": None})
    assert "Δ" not in row(served, "none")


@pytest.mark.parametrize("text", ["{", "[]", '{"mode": "min", "effects": [{"arm": 1}]}', "9" * 99])
def test_a_report_that_makes_no_sense_hides_nothing(served: Served, text: str) -> None:
    (again(served, "odd") / "effects.json").write_text(text)
    assert "interrupted" in row(served, "odd")
    assert "Δ" not in row(served, "odd")


def test_studies_are_found_by_name_owner_entrypoint_and_state(served: Served) -> None:
    again(served, "first", by="ada@lab")
    again(served, "second", by="bob@lab")
    broken = served.root / "runs" / "broken"
    broken.mkdir()
    (broken / "plan.json").write_text("{")
    assert names(served) == ["broken", "first", "second", "small"]
    assert names(served, "?study=FIR") == ["first"]
    assert names(served, "?owner=lab") == ["first", "second"]
    assert names(served, "?entrypoint=TRIAL:") == ["first", "second", "small"]
    assert names(served, "?state=damaged") == ["broken"]
    assert names(served, "?owner=lab&study=sec&state=interrupted") == ["second"]
    assert names(served, "?state=running") == []
    assert "No study is like that" in served.client.get("/?owner=nobody").text


def test_the_list_is_sorted_by_each_of_its_columns(served: Served) -> None:
    says(again(served, "better", by="zoe@lab"), EFFECT)
    says(again(served, "best", by="ada@lab"), {**EFFECT, "delta": -0.5})
    page = served.client.get("/").text
    heads = re.findall(r'<a id="studies-(\w+)"', page)
    assert heads == ["name", "state", "owner", "began", "wall", "share", "effect", "last", "report"]
    for column in heads:
        for way in ("", "-"):
            assert sorted(names(served, f"?studies={way}{column}")) == ["best", "better", "small"]
    assert names(served, "?studies=-effect") == ["best", "better", "small"]  # none is last
    assert names(served, "?studies=owner") == ["best", "better", "small"]
    assert names(served, "?studies=-owner") == ["better", "best", "small"]


def test_a_study_is_one_word(served: Served) -> None:
    kept = served.site.studies.named("small")
    assert kept is not None
    found = kept.status()

    def word(*states: TrialState, driver: str | None = None) -> str:
        cells = tuple(replace(cell, state=state) for cell, state in zip(found.cells, states, strict=False))
        return state_of(replace(found, cells=cells, driver=driver))

    done, failed, pending = TrialState.DONE, TrialState.FAILED, TrialState.PENDING
    assert word(done, pending, driver="process 1") == "running"
    assert word(done, TrialState.STOPPED, TrialState.SKIPPED) == "complete"
    assert word(done, failed) == "failed"
    assert word(failed, TrialState.CANCELLED) == "stopped"
    assert word(pending, TrialState.RUNNING) == "interrupted"
    assert {"waiting", "damaged"} < set(STATES)


@pytest.mark.slow
def test_who_waits_is_seen_and_can_be_taken_out(served: Served) -> None:
    """Also a study that has never begun; the page asks first, and runs the command that it shows."""
    assert names(served) == ["small"]
    with waiting(served.root, "new") as answers:
        assert names(served) == ["new", "small"]
        assert f"waits for first (process {os.getpid()})" in row(served, "new")
        assert names(served, "?state=waiting") == ["new"]
        asked = served.client.get("/waiting", params={"study": "new"}).text
        assert f"orchestrate stop {served.root}/runs/new</pre>" in asked
        assert not answers
        for odd in ("small", "", "..", "a/b", "x\x1b[2J"):
            assert served.client.get("/waiting", params={"study": odd}).status_code in (404, 409)
            assert served.post("/waiting", study=odd).status_code in (404, 409)
        assert served.client.post("/waiting", data={"study": "new"}).status_code == 403
        assert served.post("/waiting", study="new").status_code == 303
    assert answers == [False]
    assert names(served) == ["small"]
    with waiting(served.root, "small"):
        assert 'href="/' in row(served, "small")
        assert "waiting" in row(served, "small")


@pytest.mark.slow
def test_a_study_is_stopped_once_its_page_was_asked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.client.get("/studies/small/stop").status_code == 409
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(served.root, "busy")
    assert '<a class="button" href="stop">Stop</a>' in served.client.get("/studies/busy/").text
    asked = served.client.get("/studies/busy/stop").text
    assert f"orchestrate stop {served.root}/runs/busy</pre>" in asked
    assert "nothing is lost" in asked
    assert not (served.root / "runs" / "busy" / "control" / "stop.json").exists()
    assert served.post("/studies/busy/stop").status_code == 303
    record.close()


def test_what_changes_in_a_study_that_rests_is_seen(served: Served) -> None:
    study = again(served, "other")
    assert "Δ" not in row(served, "other")
    row(served, "other")
    says(study, EFFECT)
    assert "kind=vit" in row(served, "other")
    (study / "report.html").touch()
    assert "files/report.html" in row(served, "other")
    with (study / "journal.jsonl").open("a") as journal:
        journal.write('{"v":1,"t":4600.0,"event":"note","text":"later","driver":1}\n')
    assert "60 min" in row(served, "other")
    shutil.rmtree(study)
    assert names(served) == ["small"]


@pytest.mark.slow
def test_hundreds_of_studies_stay_cheap(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report is worked out; a look again reads no file of a study that rests, and sends nothing."""
    for number in range(299):
        shutil.copytree(served.root / "runs" / "small", served.root / "runs" / f"many-{number}")
    says(served.root / "runs" / "many-7", EFFECT)
    reports: list[str] = []
    monkeypatch.setattr(OpenedStudy, "report", lambda self, **_: reports.append(self.name))
    served.client.get("/")
    page = served.client.get("/").text
    assert "1 to 50 of 300 studies" in page
    assert len(page.encode()) < 300_000
    read: list[str] = []
    directly = Directory.read

    def counted(self: Directory, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        read.append(path.rpartition("/")[2])
        return directly(self, path, written_once=written_once, start=start)

    monkeypatch.setattr(Directory, "read", counted)
    known = re.search(r'data-tag="([^"]*)"', page)
    assert known is not None
    answer = served.client.get("/", headers={"If-None-Match": known[1].replace("&#34;", '"')})
    assert (answer.status_code, answer.content) == (304, b"")
    assert read == []
    assert names(served, "?studies=-effect")[0] == "many-7"
    assert reports == []
