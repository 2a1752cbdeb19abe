"""What a look at the page costs once a study was looked at, and what it shows of thousands of cells."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_site import Served, record_study, serve, write_files

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, Checkpointed, Noted, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.record.storage.directory import Directory
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec
from orchestrator.web import kept, studyfigures
from orchestrator.web.curvefigure import MOST_ARMS
from orchestrator.web.looks import look_at
from orchestrator.web.tables import Asked


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    return serve(tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many bytes of journals were read, look by look."""
    found: list[int] = []
    directly = Directory.read

    def counted(self: Directory, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        data = directly(self, path, written_once=written_once, start=start)
        if path.endswith("journal.jsonl"):
            found.append(len(data))
        return data

    monkeypatch.setattr(Directory, "read", counted)
    return found


def tag(page: str) -> dict[str, str]:
    known = re.search(r'data-tag="([^"]*)"', page)
    assert known is not None
    return {"If-None-Match": known[1].replace("&#34;", '"')}


def test_a_look_again_costs_what_is_new(served: Served, read: list[int], monkeypatch) -> None:
    reports: list[str] = []
    report = OpenedStudy.report

    def counted(self: OpenedStudy, **how: bool) -> object:
        reports.append(self.name)
        return report(self, **how)

    monkeypatch.setattr(OpenedStudy, "report", counted)
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(served.root, "busy")
    record.append(Assigned(cell := record.plan.cells[4].cell, record.plan.cells[4].arm, 0, 1, None, None))
    record.sync()
    read.clear()
    address = "/studies/busy/"
    page = served.client.get(address).text
    whole = served.root / "runs" / "busy" / "journal.jsonl"
    assert sum(read) == whole.stat().st_size
    for place in (address, "/"):
        known = tag(served.client.get(place).text)
        read.clear()
        answer = served.client.get(place, headers=known)
        assert (answer.status_code, answer.content, read) == (304, b"", [])
    record.append(Checkpointed(cell, 1, "step-00000001", 1, 1.0, 0.5))
    record.sync()
    known = tag(page)
    assert served.client.get(address, headers=known).status_code == 200
    assert sum(read) < 1000
    assert reports == ["busy"]  # no trial has ended: the effects are the same
    busy = served.site.studies.named("busy")
    assert busy is not None
    busy._due = 0.0
    end = TrialEnd(cell, record.plan.cells[4].arm, 0, 1, TrialState.DONE, None, None, 3.0, 0.75, 1.0, 0.0)
    record.append(end)
    record.sync()
    assert served.client.get(address, headers=known).status_code == 200
    assert reports == ["busy", "busy"]
    record.close()


def test_of_a_large_study_the_page_does_not_wait_for_the_effects(served: Served, monkeypatch) -> None:
    monkeypatch.setattr(kept, "MOST_AT_ONCE", 1)
    record_study(served.root)
    left: list[Callable[[], None]] = []
    study = kept.KeptStudy(OpenedStudy(served.site.storage, StudyPaths("small")), beside=left.append)
    first, version = look_at(study, Asked({})), study.version
    assert "being worked out" in first["effects"]["problem"]
    assert look_at(study, Asked({}))["effects"] == first["effects"]
    assert (study.version, len(left)) == (version, 1)  # nobody asks for the same page again
    left.pop()()
    assert look_at(study, Asked({}))["effects"]["problem"] == ""
    assert study.version != version
    assert not left


def test_a_deleted_directory_is_said(served: Served) -> None:
    record_study(served.root)
    assert "seed-0 is gone" not in served.client.get("/studies/small/").text
    shutil.rmtree(served.root / "runs" / "small" / "trials" / "no-batchnorm")
    (served.root / "runs" / "small" / "effects.json").touch()
    fresh = serve(served.root)
    page = fresh.client.get("/studies/small/").text
    assert "no-batchnorm seed 0: trials/no-batchnorm/seed-0 is gone" in page
    assert "its directory is gone" in page


@pytest.mark.slow
def test_thousands_of_cells_are_a_page_that_a_phone_can_draw(served: Served, monkeypatch) -> None:
    parts = [f"part_{number}" for number in range(199)]
    spec = StudySpec.model_validate(
        {
            "name": "large",
            "entrypoint": "large:train",
            "metric": {"name": "loss", "mode": "min"},
            "baseline": dict.fromkeys(parts, True),
            "components": {part: {"without": {part: False}} for part in parts},
            "seeds": 50,
            "max_cells": 10_000,
            "stopping": {"rule": "none", "max": 3, "unit": "epoch"},
        }
    )
    record = StudyRecord.open(Storage.open(served.root / "runs"), spec, make_plan(spec), Start("0" * 64))
    assert len(record.plan.cells) == 10_000
    for number, cell in enumerate(record.plan.cells[:6000]):
        record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, "lane-0", None))
        if number % 3:
            how = (TrialState.DONE, None, None) if number % 3 == 1 else (TrialState.DIVERGED, None, "x" * 99)
            record.append(TrialEnd(cell.cell, cell.arm, cell.seed, 1, *how, 3.0, float(number), 1.0, 0.0))
    record.sync()
    _figures(served, record, monkeypatch)
    record.close()
    page = served.client.get("/studies/large/").text
    assert len(page.encode()) < 200_000
    assert "1 to 50 of 200 arms" in page
    assert "1 to 50 of 10000 cells" in page
    last = served.client.get("/studies/large/", params={"arms_first": 150, "arm": "part"}).text
    assert len(last.encode()) < 200_000
    assert "151 to 199 of 199 arms" in last
    one = served.client.get("/studies/large/", params={"arm": "PART_42"}).text
    assert "no-part_41" not in one
    assert "no-part_42 seed 7:" in one


def _figures(served: Served, record: StudyRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the curves nine arms are read, the map is small, and drawn anew only when a state is another."""
    read, drawn = set(), []
    directly, draw = Directory.look_up, studyfigures.cell_figure

    def looked_up(self: Directory, path: str) -> object:
        if path.endswith("/metrics.parquet") or "/metrics.jsonl" in path:
            read.add(path.split("/trials/")[1].partition("/")[0])
        return directly(self, path)

    def counted(*what: Any) -> object:
        drawn.append(what)
        return draw(*what)

    monkeypatch.setattr(Directory, "look_up", looked_up)
    monkeypatch.setattr(studyfigures, "cell_figure", counted)
    place = "/studies/large"
    assert served.client.get(f"{place}/curves.json").status_code == 200
    assert 0 < len(read) <= 1 + MOST_ARMS
    whole = served.client.get(f"{place}/map.json")
    assert len(whole.content) < 300_000
    assert sum(len(row) for row in whole.json()["data"][0]["z"]) == 10_000
    record.append(Noted("no cell is another"))
    record.sync()
    known = {"If-None-Match": whole.headers["ETag"]}
    assert served.client.get(f"{place}/map.json", headers=known).status_code == 304
    assert len(drawn) == 1
    monkeypatch.undo()
