"""The comparison with other tools: figures, table, and what it makes of ways that fail or hang."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """A module of the comparison, which import each other by their bare names."""
    monkeypatch.syspath_prepend(PEERS)
    before = set(sys.modules)
    yield __import__
    for name in set(sys.modules) - before:
        if str(PEERS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run(way: str, wall_s: float = 1.0, **changes: Any) -> dict[str, Any]:
    measured = {"cpu_s": 2.0, "memory_mib": 100.0, "processes": 3, "ended": 12, "stopped": 0, "lost": 0}
    return {"way": way, "wall_s": wall_s, **measured, "values": {}, "told": None, **changes}


NOTHING = {"ended": None, "stopped": None, "lost": None}


def test_the_python_of_this_project_is_found_from_anywhere(load) -> None:
    """Ways run in directories of their own."""
    pytest.importorskip("psutil")
    runner = load("runner")
    assert runner.arguments(["--own", "here/python"]).own == Path.cwd() / "here" / "python"


def test_every_way_is_the_first_one_at_some_time(load) -> None:
    figures = load("figures")
    orders = [figures.in_turn(["a", "b", "c"], repetition) for repetition in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_medians_of_whole_runs_and_ratios_over_this_project(load) -> None:
    figures = load("figures")
    ours = [run(figures.OURS, wall_s) for wall_s in (4.0, 2.0, 9.0)]
    late = run("slow", 600.0, **NOTHING, told="not over after 600 s: ended from outside")
    slow = [run("slow", 10.0), run("slow", 14.0, memory_mib=300.0), late]
    first, second = figures.summaries([*ours, *slow])
    assert (first["wall_s"], first["range_s"], first["wall_s_ratio"]) == (4.0, [2.0, 9.0], 1.0)
    assert (second["wall_s"], second["whole"], second["runs"]) == (12.0, 2, 3)
    assert (second["wall_s_ratio"], second["memory_mib_ratio"], second["cpu_s_ratio"]) == (3.0, 2.0, 1.0)
    assert second["told"] == ["not over after 600 s: ended from outside"]


def test_without_this_project_or_without_a_whole_run_there_is_no_ratio(load) -> None:
    figures = load("figures")
    (alone,) = figures.summaries([run("a")])
    assert alone["wall_s_ratio"] is None
    (bad,) = figures.summaries([run(figures.OURS, lost=2, told="2 trials lost")])
    assert (bad["wall_s"], bad["wall_s_ratio"], bad["lost"]) == (None, None, 2)


def test_the_table_has_a_cell_for_everything(load) -> None:
    figures = load("figures")
    unable = run("loop", **NOTHING, told="cannot: one | process")
    lines = figures.table(figures.summaries([run(figures.OURS), unable])).splitlines()
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(figures.HEAD) + 1}
    assert lines[2].split(" | ")[2:5] == ["1.0 s", "1.0 s – 1.0 s", "1.00×"]
    assert "12 / 0 / 0" in lines[2]
    assert lines[3].startswith("| loop | 0 of 1 | – |")
    assert "cannot: one \\| process" in lines[3]


def test_values_that_differ_between_ways_are_counted(load) -> None:
    figures = load("figures")
    runs = [run("a", values={"x": 1.0, "y": 2.0, "z": 3.0}), run("b", values={"x": 1.0, "y": 2.5})]
    assert figures.same_values(runs) == (1, 2)


def test_the_page_has_what_was_measured_and_nothing_else(load) -> None:
    figures = load("figures")
    page, kept = (ROOT / "docs/benchmarks.md").read_text(), ROOT / "docs/peers.json"
    measured = json.loads(kept.read_text()) if kept.exists() else None
    assert figures.written_into(page, figures.drawn(measured)) == page
    with pytest.raises(ValueError, match="the page has no"):
        figures.written_into("nothing", "x")


def test_what_is_told_of_a_run(load) -> None:
    pytest.importorskip("psutil")
    measure, peercase = load("measure"), load("peercase")
    whole = peercase.Answer({str(number): 1.0 for number in range(12)})
    assert measure.story(whole, 0, None, "") is None
    assert measure.story(whole, 0, 600.0, "") == "not over after 600 s: ended from outside"
    assert measure.story(peercase.Answer({"x": 1.0}, 2), 0, None, "") == "9 trials lost"
    assert measure.story(peercase.Answer({}, 0, "one process"), 0, None, "") == "cannot: one process"
    assert (
        measure.story(None, 1, None, "Traceback\nValueError: x\n\n")
        == "no answer, exit code 1: ValueError: x"
    )
    assert measure.story(whole, 4, None, "error: y\n") == "exit code 4: error: y"


def test_the_answer_is_the_last_line_that_is_one(load) -> None:
    pytest.importorskip("psutil")
    measure = load("measure")
    said = '{"a": 1}\n{"values": {"x": 1.0}, "stopped": 0, "cannot": null}\nbye\n'
    assert measure.answer_of(said).values == {"x": 1.0}
    assert measure.answer_of("nothing\n") is None


def test_memory_is_summed_over_processes_and_the_most_is_kept(load) -> None:
    pytest.importorskip("psutil")
    measure = load("measure")
    peak = measure.Peak()
    for sample in ([2**20, 2**21], [2**20] * 4, []):
        peak = peak.with_sample(sample)
    assert peak == measure.Peak(4.0, 4)


def test_a_case_is_named_by_length_and_workers(load) -> None:
    peercase = load("peercase")
    case = peercase.Case.of("short-2")
    assert (str(case), len(case.configs()), case.configs()[0]["workers"]) == ("short-2", 12, 2)
    for wrong in ("short", "short-3", "endless-1"):
        with pytest.raises(ValueError, match="no case"):
            peercase.Case.of(wrong)


HANGS = """\
import signal, subprocess, sys, time
child = [sys.executable, "-c", "import signal; memory = bytearray(30 << 20); signal.pause()"]
subprocess.Popen(child, start_new_session=True)
if sys.argv[1] == "hangs":
    signal.pause()
while time.process_time() < 1:
    pass
print('{"values": {}, "stopped": 12, "cannot": null}')
"""
MEASURES = """\
import json, os, sys
from pathlib import Path
import measure
measure.adopt_orphans()
folder = Path(sys.argv[2])
words = [sys.executable, str(folder / "way.py"), sys.argv[1]]
found = measure.run(words, cwd=folder, log=folder / "out", limit_s=float(sys.argv[3]), env=os.environ)
print(json.dumps([found.to_json(), len(measure._tree())]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "limit_s"), [("hangs", "2"), ("ends", "60")])
def test_a_way_is_measured_with_its_orphans_and_nothing_of_it_is_left(
    tmp_path: Path, what: str, limit_s: str
) -> None:
    import subprocess

    pytest.importorskip("psutil")
    (tmp_path / "way.py").write_text(HANGS)
    words = [sys.executable, "-c", MEASURES, what, str(tmp_path), limit_s]
    done = subprocess.run(words, cwd=PEERS, capture_output=True, text=True, check=True)
    found, left = json.loads(done.stdout)
    assert left == 0
    assert found["processes"] == 2
    assert found["memory_mib"] > 30
    assert what == "hangs" or found["cpu_s"] >= 1
    assert found["told"] == ("not over after 2 s: ended from outside" if what == "hangs" else None)
