"""The figures of a study's page, as the browser gets them: what is drawn, and that names stay names."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_site import Served, record_study, serve, write_files

from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of
from orchestrator.record.events import Assigned, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage.directory import Directory
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.reporting.palette import STATES
from orchestrator.study.loading import load_study
from orchestrator.study.visible import visible
from orchestrator.web.cellfigure import CellRow, cell_figure
from orchestrator.web.curvefigure import MOST_ARMS, MOST_POINTS, Axes, chosen, curve_figure, drawn, smoothed
from orchestrator.web.figures import figure, in_template, labels, number, text, to_bytes

HOSTILE = "<b onload=alert(1)>&lt;%{x}</b>\x1b[2J\u202e" + "x" * 300_000
PLACE = "/studies/busy/"
values = st.floats(allow_nan=True, allow_infinity=True)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    return serve(tmp_path)


def asked(served: Served, what: str, query: str = "") -> Any:
    answer = served.client.get(f"{PLACE}{what}.json{query}")
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content, parse_constant=pytest.fail)


def reports(record: StudyRecord, arm: str, seed: int, losses: list[Any], *, first: int = 1) -> None:
    """Append what a trial has reported to its table."""
    trial = StudyPaths("busy").trial(arm, seed)
    lines = [
        json.dumps({"report": number, "epoch": number, "attempt": 1, "loss": loss}) + "\n"
        for number, loss in enumerate(losses, start=first)
    ]
    with record.storage.local_path(trial.table("metrics").jsonl).open("a") as file:
        file.writelines(lines)


def ends(record: StudyRecord, *ended: tuple[str, int, float]) -> None:
    """Let these trials end with a value."""
    for arm, seed, value in ended:
        cell = next(one for one in record.plan.cells if (one.arm, one.seed) == (arm, seed))
        if record.state.cells[cell.cell].state is TrialState.PENDING:
            record.append(Assigned(cell.cell, arm, seed, 1, "lane-0", None))
        how = (TrialState.DONE, None, None, 3.0, value)
        record.append(TrialEnd(cell.cell, arm, seed, 1, *how, wall_s=1.0, gpu_s=0.0))
    record.sync()


def names(found: Any) -> list[str]:
    return [trace["name"] for trace in found["data"] if trace.get("showlegend")]


def test_smoothing_is_that_of_tensorboard() -> None:
    points = {float(n): float(value) for n, value in enumerate([1.0, 0.0, 4.0])}
    found = list(smoothed(points, 0.6).values())
    assert found == pytest.approx([1.0, 0.24 / 0.64, (0.6 * 0.24 + 0.4 * 4.0) / (1 - 0.6**3)])
    assert smoothed(points, 0.0) == points


def test_a_curve_is_mean_and_range_over_the_seeds_that_came_there() -> None:
    found = drawn([{1.0: 1.0, 2.0: 3.0}, {1.0: 3.0}])
    assert found.lengths == (1.0, 2.0)
    assert (found.mean, found.low, found.high, found.n) == ((2.0, 3.0), (1.0, 3.0), (3.0, 3.0), (2, 1))
    long = drawn([{float(n): 0.0 for n in range(10 * MOST_POINTS)}])
    assert MOST_POINTS <= len(long.lengths) <= MOST_POINTS + 1
    assert long.lengths[-1] == 10 * MOST_POINTS - 1


@given(st.lists(st.dictionaries(st.floats(0, 100), values, max_size=5), max_size=4), st.booleans())
def test_no_number_breaks_a_figure(runs: list[dict[float, float]], log: bool) -> None:
    finite = [{at: value for at, value in run.items() if math.isfinite(value)} for run in runs]
    made = curve_figure({"baseline": drawn(finite)}, "baseline", Axes("loss", "epoch", log=log))
    for trace in json.loads(to_bytes(made), parse_constant=pytest.fail)["data"]:
        assert not log or all(value is None or value > 0 for value in trace["y"])


@given(values)
def test_a_number_that_is_not_finite_is_nothing(value: float) -> None:
    assert number(value) is None if not math.isfinite(value) else math.isfinite(number(value) or 0.0)


def test_a_logarithm_leaves_out_what_it_does_not_have() -> None:
    curves = {"baseline": drawn([{1.0: 1.0, 2.0: -1.0, 3.0: 2.0}, {1.0: 2.0, 2.0: -3.0, 3.0: 4.0}])}
    made = curve_figure(curves, "baseline", Axes("loss", "epoch", log=True))
    band, line = made["data"]
    assert line["y"] == [1.5, None, 3.0]
    assert band["x"] == [1.0, 1.0, None, 3.0, 3.0, None]
    assert "have no logarithm" in made["words"]


def test_arms_with_the_largest_effect_are_drawn() -> None:
    arms = [f"arm-{number}" for number in range(20)]
    delta = {"arm-19": -5.0, "arm-18": 4.0}
    found = chosen(arms, delta, {"arm-15"})
    assert len(found) == MOST_ARMS
    assert found[-3:] == ["arm-15", "arm-18", "arm-19"]
    assert "arm-15" in chosen(arms, {arm: 1.0 for arm in arms if arm != "arm-15"}, {"arm-15"}, "running")


@pytest.mark.parametrize("name", [HOSTILE, "", "1", "2026-01-01", "%{y}"])
def test_names_stay_names(name: str) -> None:
    cells = [TrialRecord("0" * 12, name, seed) for seed in (0, 1)]
    assert figure([], {}, name)["words"].isprintable()
    made = [
        curve_figure({name: drawn([{1.0: 1.0}, {1.0: 2.0}])}, "x", Axes(name, name)),
        cell_figure({name: CellRow.of(cells)}, name),
    ]
    for one in made:
        body = to_bytes(one).decode()
        said = json.dumps(json.loads(body), ensure_ascii=False)
        assert "<b o" not in said
        assert said == visible(said)
        assert len(said) < 5_000
    assert "%" not in in_template(name)
    assert made[1]["layout"]["yaxis"]["type"] == "category"


def test_half_a_surrogate_pair_is_shown_as_an_escape() -> None:
    assert text("a\ud800") == labels(["a\ud800"])[0] == "a\\ud800"


def test_a_large_map_leaves_a_hair_between_its_cells() -> None:
    cells = [TrialRecord(f"{n:012x}", f"arm-{n // 100}", n % 100) for n in range(10_000)]
    rows = {f"arm-{n}": CellRow.of(cells[100 * n : 100 * n + 100]) for n in range(100)}
    made = cell_figure(rows, "loss")["data"][0]
    assert 0 < made["xgap"] == made["ygap"] < 1


def test_arms_of_a_map_need_not_have_the_same_seeds() -> None:
    rows = {
        arm: CellRow.of(
            TrialRecord(f"{arm}-{seed}", arm, seed, state=TrialState.DONE, value=seed) for seed in seeds
        )
        for arm, seeds in {"a": (0, 1), "b": (1, 2)}.items()
    }
    grid = cell_figure(rows, "loss")["data"][0]
    done = list(TrialState).index(TrialState.DONE)
    assert [list(row) for row in grid["z"]] == [[done, done, None], [None, done, done]]
    assert [list(row) for row in grid["customdata"]] == [["a-0", "a-1", ""], ["", "b-1", "b-2"]]
    assert [list(row) for row in grid["meta"]["values"]] == [[0.0, 1.0, None], [None, 1.0, 2.0]]


def test_labels_differ_when_names_are_cut_alike() -> None:
    found = labels(["a" * 50 + "b" + "a" * 50, "a" * 50 + "c" + "a" * 50])
    assert len(set(found)) == 2
    assert all(len(label) < 40 for label in found)


def test_a_map_is_numbers_one_colour_for_each_state() -> None:
    cells = [TrialRecord(f"{n:012x}", "baseline", n, state=state) for n, state in enumerate(TrialState)]
    cells[2].value = math.nan
    cells[3].value = 0.123456
    made = cell_figure({"baseline": CellRow.of(cells), "none": CellRow.of([])}, "loss")
    grid, *keys = made["data"]
    assert grid["z"] == [tuple(range(len(TrialState)))]
    assert grid["meta"]["values"][0][3] == (0.1235 if cells[3].state.terminal else None)
    assert grid["meta"]["values"][0][2] is None
    assert grid["customdata"][0][1] == f"{1:012x}"
    assert grid["xgap"] > 0  # without, a style attribute would be set
    assert [key["name"] for key in keys] == [state.value for state in TrialState]
    for place, state in enumerate(TrialState):
        share = (place + 0.5) / len(TrialState)
        below = [colour for at, colour in grid["colorscale"] if at <= share]
        assert below[-1] == STATES[state]


def test_figures_of_a_study_of_which_nothing_is_known(served: Served) -> None:
    record_study(served.root, "busy").close()
    assert asked(served, "curves")["data"] == []
    assert "has reported anything" in asked(served, "curves")["words"]
    assert asked(served, "forest")["data"] == []
    assert len(asked(served, "map")["data"][0]["z"]) == 4
    assert asked(served, "map", "?arm=none-of-this-name")["data"] == []
    assert served.client.get("/studies/none/curves.json").status_code == 404


def test_curves_are_of_what_was_asked(served: Served) -> None:
    record = record_study(served.root, "busy")
    reports(record, "baseline", 0, [3.0, 2.0, 1.0])
    reports(record, "baseline", 1, [5.0, "nan"])
    reports(record, "no-batchnorm", 0, [4.0])
    found = asked(served, "curves")
    assert names(found) == ["baseline", "no-batchnorm"]
    line = next(trace for trace in found["data"] if trace.get("showlegend"))
    assert (line["x"], line["y"], line["customdata"]) == ([1.0, 2.0, 3.0], [4.0, 2.0, 1.0], [2, 1, 1])
    assert names(asked(served, "curves", "?arm=kind")) == ["baseline"]
    changed = asked(served, "curves", "?smooth=0.6&log=yes")
    assert changed["layout"]["yaxis"]["type"] == "log"
    assert "weight 0.6" in changed["words"]
    assert asked(served, "curves", "?smooth=7&first=x") == found
    record.close()


def test_effects_are_drawn_with_their_interval(served: Served) -> None:
    record = record_study(served.root, "busy")
    ends(record, ("baseline", 1, 0.3), ("kind=vit", 0, 0.75), ("kind=vit", 1, 0.7), ("kind=mlp", 0, 0.2))
    found = asked(served, "forest")
    points = {
        y: (x, error)
        for one in found["data"]
        for y, x, error in zip(one["y"], one["x"], one["error_x"]["array"], strict=True)
    }
    assert points["kind=vit"][0] == pytest.approx(0.45)
    assert points["kind=vit"][1] > 0
    assert points["kind=mlp"] == (-0.05, 0.0)  # one seed has no interval
    assert found["layout"]["shapes"][0]["x0"] == 0
    low, high = found["layout"]["xaxis"]["range"]
    assert low < -0.05
    assert high > sum(points["kind=vit"])
    assert "CI" in found["words"]
    record.close()


def test_what_is_not_new_is_not_sent_and_not_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []
    directly = Directory.read

    def counted(self: Directory, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        data = directly(self, path, written_once=written_once, start=start)
        if "metrics" in path:
            read.append((path, len(data)))
        return data

    record = record_study(served.root, "busy")
    reports(record, "baseline", 1, [1.0] * 100)
    reports(record, "no-batchnorm", 0, [2.0] * 100)
    monkeypatch.setattr(Directory, "read", counted)
    first = served.client.get(f"{PLACE}curves.json")
    assert len(read) == 2
    read.clear()
    again = served.client.get(f"{PLACE}curves.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, read) == (304, b"", [])
    reports(record, "baseline", 1, [0.5], first=101)
    ends(record, ("kind=vit", 0, 1.0))
    assert served.client.get(f"{PLACE}curves.json").content == first.content  # of that trial nobody has told
    assert not read
    cell = next(one for one in record.plan.cells if (one.arm, one.seed) == ("baseline", 1))
    how = (TrialState.DONE, None, None, 101.0, 0.5)
    record.append(TrialEnd(cell.cell, "baseline", 1, 1, *how, wall_s=1.0, gpu_s=0.0))
    record.sync()
    fresh = served.client.get(f"{PLACE}curves.json", headers={"If-None-Match": first.headers["ETag"]})
    assert fresh.status_code == 200
    assert 101.0 in json.loads(fresh.content)["data"][0]["x"]
    assert [length < 200 for _, length in read] == [True]  # its last report, not the hundred before
    record.close()


def test_looks_are_said_with_the_level_that_is_next(served: Served) -> None:
    """Of a study that looks while it runs: p beside its level, and what the next look asks for."""
    text = (served.root / "configs" / "busy.yaml").read_text()
    text = text.replace("rule: none", "rule: resolve").replace("seeds: 2", "seeds: 5")
    (served.root / "configs" / "busy.yaml").write_text(text)
    record = record_study(served.root, "busy")
    ends(record, *(("baseline", seed, 0.25 + 0.01 * seed) for seed in (1, 2, 3)))
    ends(record, ("no-batchnorm", 1, 0.3))
    for arm, offset in (("kind=vit", 5.0), ("kind=mlp", 0.02)):
        ends(record, *((arm, seed, 0.25 + offset + 0.03 * seed * seed) for seed in (0, 1)))
    page = served.client.get(PLACE).text
    part = page[page.index('aria-label="looks"') :].partition("</tbody>")[0]
    lines = part.partition("<tbody>")[2].splitlines()
    rows = {row[0]: row[1:] for line in lines if (row := re.findall(r"<t[hd][^>]*>([^<]*)<", line))}
    assert rows["kind=vit"][0] == "1 of 4, at 2 seeds"
    assert rows["kind=vit"][-2:] == ["different", "–"]
    spec = load_study(served.root / "configs" / "busy.yaml").spec
    rule = rule_of(spec).on_seeds(spec, 3)
    assert rule is not None
    # Holm: two arms are left, of whose level the rule spends a part at its second look
    asked_for = f"at 3 seeds, p ≤ {rule.levels(rule.alpha / 2)[1]:.2g}"
    assert rows["kind=mlp"] == ["1 of 4, at 2 seeds", "0.12", "0.0016", "goes on", asked_for]
    assert rows["no-batchnorm"][1] == "–"  # its first run has failed: one pair has no p
    record.close()
