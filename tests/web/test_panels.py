"""What the panels of a study's page say, whatever its driver has left behind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from served_site import Served, record_study, serve, write_files

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Noted, Started, TrialEnd
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
SECTION = re.compile(r'<section id="(\w+)"><h2>.*?</section>', re.DOTALL)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    (tmp_path / "runs").mkdir()
    return serve(tmp_path)


def recorded(served: Served, name: str) -> dict[str, str]:
    """The panels of a recorded study."""
    shutil.copytree(RECORDS / name, served.root / "runs" / name)
    return said(served, name)


def said(served: Served, name: str) -> dict[str, str]:
    """The words of each panel, cells apart by a bar."""
    answer = served.client.get(f"/studies/{name}/")
    assert answer.status_code == 200
    return {found[1]: words(found[0]) for found in SECTION.finditer(answer.text)}


def words(html: str) -> str:
    text = re.sub(r"<[^>]+>", "", re.sub(r"</t[hd]>", " | ", re.sub(r"<progress.*?</progress>", "", html)))
    return " ".join(unescape(text).split())


@pytest.fixture
def busy(served: Served) -> Iterator[StudyRecord]:
    """A study that runs: one cell done, one failed, one under way."""
    text = (served.root / "configs" / "small.yaml").read_text()
    text = text.replace("name: small", "name: busy") + "budget: {gpu_hours: 2, wall: 2h}\n"
    (served.root / "configs" / "busy.yaml").write_text(text)
    record = record_study(served.root, "busy")
    yield record
    record.close()


def tell(record: StudyRecord, **more: Any) -> None:
    """What a driver says beside its journal: the cell under way is at two of three epochs."""
    cell = next(cell for cell in record.state.cells.values() if cell.state is TrialState.RUNNING)
    record.lease.beat(
        {
            cell.cell: {"length": 2.0, "value": 0.4, "lane": "lane-0", "attempt": 1, "wall_s": 4.0},
            "run": {
                "waiting": 5,
                "fit": 2,
                "gpus": 1.0,
                "nodes": [
                    {"name": "10.0.0.1 (aa)", "cpus": 8.0, "gpus": 2.0, "is": "used"},
                    {"name": "10.0.0.2 (bb)", "cpus": 8.0, "gpus": 2.0, "is": "lost"},
                ],
                "on": {"lane-0": ["10.0.0.1 (aa)"]},
            },
            **more,
        }
    )


def test_what_a_study_that_runs_is_at(served: Served, busy: StudyRecord) -> None:
    cell = next(cell for cell in busy.state.cells.values() if cell.state is TrialState.RUNNING)
    busy.append(Started(cell.cell, 1, "lane-0", ("GPU",), 7), Noted("node 10.0.0.2 (bb) is lost"))
    busy.sync()
    tell(busy, waits={"for": "the first reports of baseline seed 0"})
    panels = said(served, "busy")
    assert (
        "1 lane has a trial, 1 of 2 idle, 5 trials waiting for one; all others wait for the first"
        in (panels["lanes"])
    )
    assert re.search(
        r"\| baseline seed 1 \| 2 epochs \| lane-0 \| 10\.0\.0\.1 \(aa\) \| 1970-\d\d-\d\d \d\d:\d\d \| "
        r"1, from step 7 \| ",
        f"| {panels['lanes'].split('attempt | ')[1]}",
    )
    assert "10.0.0.2 (bb) | lost | 0 | 8 | 2 | 10.0.0.1 (aa) | used | 1 |" in panels["lanes"]
    assert "nodes lost: 1" in panels["lanes"]
    assert "min" not in panels["budget"].split("|")[1]
    assert re.search(r"time left \| \d+ to \d+ s, 6 trials left \| ", panels["budget"])
    assert "trained | 6 of 24 epochs of the full grid" in panels["budget"]
    assert "GPU budget | 0.00111 GPU-hours of the budget of 2" in panels["budget"]
    assert re.search(r"time budget \| 2\.0 h for each start: this one began 1970-", panels["budget"])
    assert "none: every trial runs to its full length" in panels["stopping"]


def test_what_a_node_has_in_use_is_there_as_far_as_it_says(served: Served, busy: StudyRecord) -> None:
    gib = 1 << 30
    used = {"load": 1.3, "memory": [3.1 * gib, 16 * gib]}
    nodes: list[dict[str, Any]] = [
        {"name": "10.0.0.1 (aa)", "cpus": 8.0, "gpus": 0.0, "is": "used", **used},
        {"name": "10.0.0.2 (bb)", "cpus": 8.0, "gpus": 0.0, "is": "used"},
    ]
    tell(busy, run={"waiting": 0, "fit": 1, "nodes": nodes})
    lanes = said(served, "busy")["lanes"]
    assert "GPUs | load | memory" in lanes
    assert "GPUs busy" not in lanes
    assert "1.3 | 3.1 of 16 GiB" in lanes
    assert "8 | 0 | – | –" in lanes
    nodes[1] |= {"gpu": 0.42, "gpu_memory": [70 * gib, 160 * gib], "memory": [5, 3], "load": "\x1b"}
    tell(busy, run={"waiting": 0, "fit": 1, "nodes": nodes})
    lanes = said(served, "busy")["lanes"]
    assert "load | memory | GPUs busy | GPU memory" in lanes
    assert "8 | 0 | – | – | 42 % | 70 of 160 GiB" in lanes


def test_no_time_is_left_to_tell_while_no_lane_fits(served: Served, busy: StudyRecord) -> None:
    tell(busy, run={"waiting": 5, "fit": 0})
    assert "time left | not known: no lane fits now; 6 trials left" in said(served, "busy")["budget"]


def test_time_left_is_not_known_before_anybody_can(served: Served) -> None:
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "young.yaml").write_text(text.replace("name: small", "name: young"))
    spec = load_study(served.root / "configs" / "young.yaml").spec
    record = StudyRecord.open(Storage.open(served.root / "runs"), spec, make_plan(spec), Start("0" * 64))
    assert (
        "time left | not known yet: half a trial has to be trained first; 8 trials left"
        in (said(served, "young")["budget"])
    )
    record.close()
    panels = said(served, "young")
    assert "time left | nobody runs it now, 8 trials left" in panels["budget"]
    assert "Nobody runs the study now" in panels["lanes"]
    assert "No attempt has failed." in panels["faults"]


def test_what_failed_and_how_it_went_on(served: Served, busy: StudyRecord) -> None:
    first, second = (
        cell
        for cell in busy.state.cells.values()
        if (cell.arm, cell.seed) in (("kind=vit", 0), ("kind=mlp", 0))
    )
    killed = (Cause.INFRA, "rank 0 was killed\nand more", True, "10.0.0.1 (aa)", FaultKind.WORKER_KILLED)
    for cell in (first, second):
        busy.append(Assigned(cell.cell, cell.arm, 0, 1, "lane-1", None))
        busy.append(Started(cell.cell, 1, "lane-1", ("CPU",), None))
        busy.append(AttemptFailed(cell.cell, 1, *killed))
    busy.append(Assigned(first.cell, first.arm, 0, 2, "lane-1", None))
    busy.append(Started(first.cell, 2, "lane-1", ("CPU",), 40))
    end = TrialEnd(first.cell, first.arm, 0, 2, TrialState.DONE, None, None, 3.0, 0.5, 1.0, 0.0, "lane-1")
    busy.append(end)
    busy.sync()
    panels = said(served, "busy")
    assert (
        "2 attempts failed, 2 tried again by itself; 1 attempt went on from a checkpoint" in panels["faults"]
    )
    assert "worker killed | 2 | 2 |" in panels["faults"]
    message = "worker killed | 10.0.0.1 (aa) | rank 0 was killed"
    assert f"{message} | went on from step 40 |" in panels["faults"]
    assert f"{message} | waits for its next attempt |" in panels["faults"]
    assert f"These wait for their next attempt: {second.name}." in panels["faults"]
    assert "attempts that lost their workers: 2" in panels["lanes"]


def test_the_rungs_of_a_recorded_study(served: Served) -> None:
    panels = recorded(served, "asha")
    assert panels["stopping"].count("asha: rungs at 1, 3 epochs, the best 1/3 go on") == 1
    assert (
        "1 epoch | 18 | 11 | 7 | 0 | 10.579 | no-c seed 2 at 12.595, rank 10 of 16 | 26 s |"
        in panels["stopping"]
    )
    assert "8 trials stopped at rungs: 62 epochs not trained, 27 s" in panels["stopping"]
    samples = recorded(served, "tune")["stopping"]
    assert "1 epoch | no-b | 6 | 2 | 4 | 0 | 19.431 | no-b sample 5 at 20.71, rank 5 of 6 |" in samples
    assert (
        "9 trials not needed any more: 54 epochs not trained" in recorded(served, "resolve-save")["stopping"]
    )


def test_the_failures_of_a_recorded_study(served: Served) -> None:
    faults = recorded(served, "failures")["faults"]
    assert "8 attempts failed, 2 tried again by itself; 2 attempts went on from a checkpoint" in faults
    assert "hang | 3 | 1 |" in faults
    assert "rank 0 was killed | went on from step 1 |" in faults
    assert "10.0.0.1 (8f06e81b) | no report for 15 s (limit 15 s) | the next start takes it up |" in faults


def test_damaged_lines_are_named(served: Served) -> None:
    shutil.copytree(RECORDS / "failures", served.root / "runs" / "failures")
    journal = served.root / "runs" / "failures" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"{\n", *lines[3:]]))
    assert (
        "The journal cannot be read in line 4; what they said is not counted."
        in (said(served, "failures")["faults"])
    )


def test_without_the_packages_of_a_study_the_rest_is_there(served: Served) -> None:
    shutil.copytree(RECORDS / "failures", served.root / "runs" / "failures")
    file = served.root / "runs" / "failures" / "study.yaml"
    file.write_text(file.read_text().replace("rule: none", "rule: of-a-package"))
    panels = said(served, "failures")
    assert "stopping.rule" in panels["budget"]
    assert "8 attempts failed" in panels["faults"]
    assert "stopping" not in panels


ODD = (
    None,
    "x" * 100_000,
    {"nodes": [{"name": "<b>" * 9999}, {"name": 3}, 7], "on": {"lane-0": [None]}},
    {"fit": -1, "waiting": "many", "nodes": {}, "on": 3},
    {"fit": 10**30, "nodes": [{"name": "a"}] * 5000},
)


@pytest.mark.parametrize("run", ODD, ids=range(len(ODD)))
def test_whatever_a_driver_has_left_behind(served: Served, busy: StudyRecord, run: object) -> None:
    tell(busy, run=run)
    page = served.client.get("/studies/busy/")
    assert page.status_code == 200
    assert "<b>" not in page.text
    assert len(page.text) < 40_000


def test_a_look_again_reads_on_and_the_panels_say_what_is_new(served: Served, busy: StudyRecord) -> None:
    tell(busy)
    page = served.client.get("/studies/busy/")
    known = {"If-None-Match": unescape(re.findall(r'data-tag="([^"]*)"', page.text)[0])}
    assert served.client.get("/studies/busy/", headers=known).status_code == 304
    tell(busy)  # the driver lives and has nothing new
    assert served.client.get("/studies/busy/", headers=known).status_code == 304
    cell = next(cell for cell in busy.state.cells.values() if cell.state is TrialState.RUNNING)
    busy.append(AttemptFailed(cell.cell, 1, Cause.HANG, "silent", True, None, FaultKind.HANG))
    busy.sync()
    assert "hang | 1 | 1 |" in said(served, "busy")["faults"]
    other = next(cell for cell in busy.state.cells.values() if not cell.begun)
    busy.append(Assigned(other.cell, other.arm, other.seed, 1, None, None))
    busy.sync()
    assert "hang | 1 | 1 |" in said(served, "busy")["faults"]
