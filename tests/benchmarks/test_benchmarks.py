"""The benchmarks' arithmetic, and that the scripts start. What they measure is in docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks, which import each other by their bare names."""
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)

    def module(name: str) -> ModuleType:
        return __import__(name)

    yield module
    for name in set(sys.modules) - before:
        if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_turnaround_is_from_a_trials_last_report_to_the_next_first_step_of_its_lane(load) -> None:
    spans = load("spans")
    ran = [
        spans.Span("c", 21.0, 30.0, "left"),
        spans.Span("a", 0.0, 10.0, "left"),
        spans.Span("b", 0.0, 20.0, "right"),
        spans.Span("d", 10.5, 20.0, "left"),
    ]
    assert spans.turnarounds(ran, slots=2) == [0.5, 1.0]


def test_without_names_the_slot_that_was_free_first_is_taken_first(load) -> None:
    spans = load("spans")
    ran = [spans.Span("a", 0.0, 10.0), spans.Span("b", 1.0, 4.0), spans.Span("c", 6.0, 7.0)]
    assert spans.turnarounds(ran, slots=2) == [2.0]
    assert spans.turnarounds(ran[:2], slots=2) == []


def test_summary_and_table_of_a_run_that_hung(load) -> None:
    spans = load("spans")
    good = spans.Run("lanes", 2, (spans.Span("a", 105, 110), spans.Span("b", 110.1, 115.1)), 100, 116, 1)
    bad = spans.Run("recipe", 2, (spans.Span("a", 120, 125),), 100, 400, 1, hung="nothing happened for 240 s")
    none = spans.Run("nothing", 2, (), 100, 400, 1, hung="not over after 300 s")
    figures = good.summary()
    assert figures["turnaround_median_s"] == pytest.approx(0.1)
    assert (figures["start_s"], figures["wall_s"], figures["training_s"]) == (5, 16, 10)
    assert figures["over_ideal"] == pytest.approx(1.1)
    rows = spans.table([run.summary() for run in (good, bad, none)], "lanes").splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert "| 2 of 2 | 100 ms | 100 ms | 1× | 5.0 s | 16.0 s |" in rows[2]
    assert "1 of 2, **hung**" in rows[3]
    assert "> 300 s" in rows[3]


def test_ratios_are_against_the_lanes(load) -> None:
    spans = load("spans")
    rows = [{"name": "lanes", "turnaround_median_s": 0.1}, {"name": "recipe", "turnaround_median_s": 16.0}]
    common = dict.fromkeys(("turnaround_max_s", "start_s", "wall_s", "ideal_s", "over_ideal", "hung"))
    common |= {"trained": 1, "planned": 1}
    assert "160×" in spans.table([{**common, **row} for row in rows], "lanes")


def test_last_metrics_are_compared_bit_for_bit(load) -> None:
    spans = load("spans")
    one = spans.Run(
        "one", 2, (spans.Span("a", 0, 1, value=0.1 + 0.2), spans.Span("b", 0, 1, value=1.0)), 0, 1, 1
    )
    two = spans.Run("two", 2, (spans.Span("a", 0, 1, value=0.3),), 0, 1, 1)
    three = spans.Run("three", 2, (spans.Span("b", 0, 1, value=1.0),), 0, 1, 1)
    assert spans.same_values([one, two, three]) == (1, 2)


def test_stamped_spans_leave_out_trials_that_did_not_finish(load) -> None:
    turnaround = load("turnaround")
    stamps = [
        {"t": 1.0, "trial": "a", "event": "began"},
        {"t": 2.0, "trial": "a", "event": "reported", "value": 0.5},
        {"t": 2.5, "trial": "b", "event": "began"},
        {"t": 3.0, "trial": "a", "event": "reported", "value": 0.6},
        {"t": 4.0, "trial": "b", "event": "reported", "value": 0.7},
    ]
    (span,) = turnaround.stamped_spans(stamps, reports=2)
    assert (span.trial, span.training_s, span.value) == ("a", 2.0, 0.6)


def test_the_benchmarks_studies_load(load, tmp_path: Path) -> None:
    turnaround, throughput, yaml = load("turnaround"), load("throughput"), load("yaml")
    from orchestrator.study.cells import make_plan
    from orchestrator.study.loading import load_study

    bench = turnaround.Bench(turnaround.arguments(["--seeds", "2", "--epochs", "1"]), tmp_path)
    assert [len(bench.plan.arms), len(bench.plan.cells)] == [3, 6]
    count = 100
    study = throughput.study_file("decisions", count, 1, throughput.dense_reduction(count), 2, 2, tmp_path)
    (tmp_path / "flood.yaml").write_text(yaml.safe_dump(study))
    loaded = load_study(tmp_path / "flood.yaml")
    assert len(make_plan(loaded.spec).cells) == 4
    from orchestrator.decide.rungs import highest_rung, rungs

    marks = rungs(loaded.spec.stopping.grace, loaded.spec.stopping.reduction, count)
    highest = [highest_rung(marks, length) for length in range(1, count + 1)]
    assert len(set(highest)) == count  # a new rung at every report


def test_rates_of_reports_and_decisions(load) -> None:
    throughput = load("throughput")
    notes = [
        {"began": 10.0, "ended": 14.0, "took_s": [0.001] * 3000},
        {"began": 11.0, "ended": 14.5, "took_s": [0.001] * 3000},
    ]
    journal = [{"event": "end", "t": 15.0}, {"event": "decision", "t": 12.0}, {"event": "end", "t": 16.0}]
    reports = throughput.report_rate(notes, journal)
    assert (reports["reports"], reports["per_s"], reports["behind_s"]) == (6000, 1000.0, 1.5)
    decisions = throughput.decision_rate(notes, journal, lanes=2)
    assert (decisions["decisions"], decisions["asking_s"]) == (1, 3.75)
    assert "reached" in throughput.show(reports, decisions)


@pytest.mark.slow
def test_a_command_that_hangs_is_ended_with_all_that_it_started(load, tmp_path: Path) -> None:
    sessions = load("sessions")
    # a child in a process group of its own, as Ray's are, which waits for ever
    child = "import os, signal; os.setpgid(0, 0); print(os.getpid(), flush=True); signal.pause()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    output = tmp_path / "out"
    ended = sessions.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        scratch=tmp_path,
        output=output,
        progress=lambda: output.stat().st_size,
        idle_limit_s=1.0,
        total_limit_s=60.0,
    )
    assert ended.code is None
    assert "nothing happened" in ended.hung
    pid = int(output.read_text())
    assert pid not in sessions.members_of(os.getsid(0))
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        *("turnaround", "throughput", "monitors", "checkpoints", "recovery", "records", "loop"),
        *("scale", "messages", "verdicts", "gpu"),
    ],
)
def test_help(script: str) -> None:
    shown = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{script}.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--json" in shown.stdout


@pytest.mark.long
@pytest.mark.slow
def test_large_records_take_little_memory_and_give_small_pages(tmp_path: Path) -> None:
    """What they take in seconds is in docs/benchmarks.md."""
    figures = tmp_path / "figures.json"
    words = ["--cells", "2000", "--checkpoints", "10", "--repeat", "1", "--json", str(figures)]
    subprocess.run([sys.executable, str(SCRIPTS / "records.py"), *words], capture_output=True, check=True)
    found, planned = json.loads(figures.read_text())["records"]
    assert (found["cells"], planned["cells"]) == (2000, 100_000)
    memory_mb = {name: row[2] for name, (row,) in {**found["rows"], **planned["rows"]}.items()}
    assert "`orchestrate report large --write`" in memory_mb
    assert max(memory_mb.values()) < 500, memory_mb
    sizes = [row[3] for name, (row,) in found["rows"].items() if name.startswith("page")]
    assert max(sizes) < 200_000


def test_stalls_are_against_the_time_between_two_reports_without_the_last_one(load) -> None:
    checkpoints = load("checkpoints")
    lines = []
    for epoch, report_s in enumerate((0.1, 0.3, 9.0)):
        lines.append({"t": 10.0 * epoch, "what": "snapshot", "s": 0.2})
        lines.append({"t": 10.0 * epoch + 1, "what": "report", "s": report_s})
    found = checkpoints.figures([checkpoints.json.dumps(line) for line in lines])
    assert found["checkpoints"] == 2
    assert found["stall_s"] == pytest.approx(0.4)
    assert found["share"] == pytest.approx(0.8 / 20)
    assert "4.00%" in checkpoints.table([{"case": "task-s3", **found}])


def test_loops_are_compared_round_by_round_over_whole_epochs(load) -> None:
    loop, loaded = load("loop"), load("loaded")
    stamps = [0.0, 1.0, 2.0, 9.0, 10.0, 11.0, 17.0, 18.0, 19.0]  # three steps in each of three epochs
    assert loaded.rate(stamps, batch=8, epochs=3) == pytest.approx(3 * 8 / 8)
    rounds = [
        {
            way: {"samples_per_s": rate, "first_step_s": 1.0}
            for way, rate in zip(("ours", "plain", "lightning"), rates, strict=True)
        }
        for rates in ((96.0, 100.0, 80.0), (90.0, 100.0, 100.0), (99.0, 100.0, 90.0))
    ]
    assert "| waiting | plain | 100 | 0.960 | 0.900 | 1.0 s |" in loop.table({"waiting": rounds})
    plain, other = loop.verdicts({"waiting": [rounds[0], *rounds[:2]]})
    assert plain == "waiting against plain: wanted at least 0.95, seen 0.960; reached."
    assert other.endswith("seen 1.200; reached.")
    with pytest.raises(SystemExit):
        loop.arguments(["--epochs", "2"])


def test_unknown_ways_are_refused(load, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("turnaround").arguments(["--runs", "lanes,magic"])
    assert "magic" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_driver_runs_over_lanes_that_only_report(load, tmp_path: Path) -> None:
    scale = load("scale")
    words = ["--cells", "20", "--lanes", "5", "--rate", "200", "--minutes", "0.02", "--mean", "6"]
    found = scale.run(scale.arguments([*words, "--windows", "6"]), tmp_path)
    assert found["cells"] == sum(found["counts"].values()) == 20
    assert found["trials"] > 0
    assert found["decisions"] > 0
    assert found["reports"] > 0
    drawn = scale.drawn(found)
    assert "message path (broker)" in drawn
    assert "reports a second: wanted, made | 200, " in drawn


def test_slopes_of_time_and_memory_are_over_the_windows_behind_the_first_tenth(load) -> None:
    scale = load("scale")
    samples = [
        scale.Sample(60.0 * n, {"broker": 0.1 * n, "lanes": 5.0 * n}, 100 + 2e-5 * 1000 * n, 1000 * n, n, n)
        for n in range(11)
    ]
    samples[0] = scale.Sample(0.0, {"broker": 9.0}, 50.0, 0, 0, 0)  # the start, which is left out
    found = scale.figures(samples, [0.01] * 9 + [0.2])
    assert found["cores"] == pytest.approx(0.1 / 60)
    assert found["cpu_us_per_report"] == pytest.approx(100.0)
    assert found["cpu_slope"] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found["rss_slope"] == pytest.approx((20.0, 0.0), abs=1e-3)
    assert found["decision_p50_s"] == 0.01


def test_a_report_costs_what_its_phase_takes_beyond_the_silent_one(load) -> None:
    messages = load("messages")
    looks = [
        messages.Look(float(t), {"worker": 0.02 * t + max(0.0, 0.06 * (t - 10)), "driver": 0.01 * t}, {})
        for t in range(31)
    ]
    note = {"quiet": 0.5, "began": 10.0, "ended": 20.0}
    found = messages.figures(looks, [note, note], reports=600)
    assert found["rate"] == pytest.approx(30.0)
    worker = found["kinds"]["worker"]
    assert worker["silent_share"] == pytest.approx(0.01)
    assert worker["us_per_report"] == pytest.approx(1000.0)
    assert found["path_share"] == pytest.approx(0.005)
    drawn = messages.drawn(found)
    assert "worker at most 3 %, seen 4.00 %, NOT reached" in drawn
    assert "message actor and driver at most 2 %, seen 0.50 %, reached" in drawn


def test_a_table_is_put_between_its_marks(load) -> None:
    leavings = load("leavings")
    page = "a\n<!-- one -->\nold\n<!-- end -->\nb\n<!-- two -->\nold\n<!-- end -->\n"
    once = leavings.written_into(page, "two", "new\n")
    assert once == page[: page.rindex("old")] + "new\n<!-- end -->\n"
    with pytest.raises(ValueError, match="three"):
        leavings.written_into(page, "three", "new")
    for mark in ("scale", "messages"):
        assert leavings.written_into(leavings.PAGE.read_text(), mark, "new\n").count("new\n<!-- end -->") == 1
