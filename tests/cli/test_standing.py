"""status, watch, logs, stop and report: from the run directory alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import watching
from orchestrator.api.recorded import open_study
from orchestrator.api.watching import Watched, Watcher
from orchestrator.cli import console, logs
from orchestrator.cli.standing import arms_table, draw, explanations, follow_as_lines
from orchestrator.decide.states import TrialState
from orchestrator.record.control import take_requests
from orchestrator.record.events import Decided
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.screen import Screen
from orchestrator.reporting.standing import StudyStanding, standing
from orchestrator.reporting.standingwords import MOST_LINES


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [[], ["small"], ["runs/small"], ["runs/small/"], ["study.yaml"], ["runs/small/study.yaml"]]
)
def test_a_study_is_found_by_many_names(command, recorded: Path, words: list[str]) -> None:
    assert command("status", *words, "--json").document["study"] == "small"


def test_a_study_is_found_below_another_storage(command, recorded: Path) -> None:
    Path("runs").rename("elsewhere")
    assert command("status", "small").code == 2
    assert command("status", "small", "--storage", "elsewhere").code == 0
    assert command("status", "--storage", f"file://{Path('elsewhere').resolve()}").code == 0
    assert command("status", f"file://{Path('elsewhere').resolve()}/small").code == 0


@pytest.mark.parametrize("words", [["larger"], ["../small"], ["runs"], ["."], ["s3:"]])
def test_what_is_no_study_is_bad_input(command, recorded: Path, words: list[str]) -> None:
    result = command("status", *words)
    assert result.code == 2
    assert len(result.faults) == 1


def test_without_a_study_there_is_nothing_to_show(command, study: Path) -> None:
    result = command("status")
    assert result.code == 2
    assert "no study is recorded" in result.err


def test_a_damaged_record_is_named(command, recorded: Path) -> None:
    (recorded / "plan.json").write_text("{")
    result = command("status", "small")
    assert result.code == 4
    assert "plan.json: the record of this study is damaged" in result.err


def test_status_for_programs(command, recorded: Path) -> None:
    status = command("status", "--json").document
    assert status["counts"] == {"pending": 2, "running": 1, "done": 1, "stopped": 1, "failed": 1}
    assert status["driver"] is None
    assert len(status["cells"]) == 6
    cells = {(cell["arm"], cell["seed"]): cell for cell in status["cells"]}
    stopped = cells["no-batchnorm", 0]
    # the loss is minimised: scores are recorded as its negative, people see the loss
    assert stopped["stop"] == {"rule": "asha", "rung": 3.0, "cutoff": 0.5, "rank": 3, "peers": 4}
    assert stopped["trial_dir"] == "trials/no-batchnorm/seed-0"
    assert cells["no-dropout", 0]["cause"] == "user"
    assert cells["baseline", 0]["stop"] is None
    assert status["saved"] == 6.0


def test_status_for_people(command, recorded: Path) -> None:
    out = command("status").out
    assert "2 pending, 1 running, 1 done, 1 stopped, 1 failed of 6 cells; nobody runs it now" in out
    assert "no-batchnorm seed 0: stopped by asha at rung 3 epochs, loss 0.8, cut-off 0.5, rank 3 of 4" in out
    assert "no-dropout seed 0: failed (user) at 2 epochs: ValueError: no such width" in out
    assert "trials/no-dropout/seed-0/log.txt" in out
    assert "its driver is gone" in out
    assert "saved by stopping early: 6 epochs of 54 (11%)" in out


def test_thousands_of_explanations_are_not_all_printed() -> None:
    cells = tuple(TrialRecord(str(seed), "no-a", seed, state=TrialState.FAILED) for seed in range(10_000))
    found = StudyStanding("s", "runs/s", "loss", "min", "epoch", 9.0, None, ("no-a",), cells, 0.0, ())
    few = explanations(found)
    assert len(few) == MOST_LINES + 1
    assert ("no-a seed 0:" in few[0], "no-a seed 9999:" in few[-1]) == (True, True)
    assert "and 9800 more; `orchestrate status --json` has all" in few


def test_each_decision_is_looked_at_once() -> None:
    looked = []

    class Looked(dict[float, Decided]):
        def values(self) -> Any:
            looked.extend(self)
            return super().values()

    made = Decided("0", "stop", TrialState.STOPPED, "asha", 3.0, -0.5, 3, 4, "rank 3 of 4")
    cells = tuple(
        TrialRecord(str(seed), "no-a", seed, state=TrialState.STOPPED, decisions=Looked({3.0: made}))
        for seed in range(1000)
    )
    found = StudyStanding("s", "runs/s", "loss", "min", "epoch", 9.0, None, ("no-a",), cells, 0.0, ())
    assert "no-a seed 999: stopped by asha at rung 3 epochs" in explanations(found)[-1]
    assert len(looked) == 1000


def test_status_tells_phases_apart_and_skipped_seeds_once(capsys: pytest.CaptureFixture[str]) -> None:
    def cell(seed: int, phase: str, state: TrialState, value: float | None = None, **more: object) -> Any:
        more = {"attempts": 1, "wall_s": 1.0, **more}
        return TrialRecord(f"{phase}-{seed}", "no-a", seed, phase=phase, state=state, value=value, **more)

    why = {"reason": "futile after 3 seeds"}
    cells = (
        cell(10_000, "tune", TrialState.DONE, 100.0, sample=0),
        cell(0, "retuned", TrialState.DONE, 2.0),
        cell(3, "retuned", TrialState.SKIPPED, **why),
        cell(4, "retuned", TrialState.SKIPPED, **why),
    )
    found = StudyStanding("s", "runs/s", "loss", "min", "epoch", 4.0, None, ("no-a",), cells, 0.0, ())
    assert explanations(found) == ["– no-a seeds 3, 4 (retuned): skipped: futile after 3 seeds"]
    console.show(arms_table(found))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["arm", "tune", "retuned", "answered", "mean", "loss", "(retuned)", "wall"]
    assert lines[1] == ["no-a", "✓", "✓––", "2/4,", "2", "skipped", "2", "4s"]


def test_status_shows_what_the_driver_says_of_running_trials(command, driven) -> None:
    cell = next(c for c in command("status", "--json").document["cells"] if c["state"] == "running")
    assert cell["length"] is None
    driven.beat({cell["cell"]: {"length": 4.0, "value": 0.5, "lane": "lane-1", "attempt": 1}})
    result = command("status")
    assert "run by process" in result.out
    assert "baseline seed 1: running at 4 epochs of 9, loss 0.5" in result.out
    driven.release()
    assert "at 4 epochs of 9" not in command("status").out


def test_watch_ends_with_the_driver(command, driven, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_study("small", "runs")
    waits: list[StudyStanding] = []

    def wait() -> None:
        waits.append(standing(run))
        if len(waits) == 2:
            driven.release()

    follow_as_lines(lambda: standing(run), wait)
    lines = capsys.readouterr().out.splitlines()
    assert len(waits) == 2
    assert len(lines) == 2, "a line only when something has changed"
    assert "run by" in lines[0]
    assert "nobody runs it now" in lines[1]


@pytest.fixture
def watched(recorded: Path) -> Watched:
    """A look at the study, some of whose trials have reported."""
    for trial, values in (("baseline/seed-0", (1.0, 0.5, 0.25)), ("no-batchnorm/seed-0", (0.9, 0.8))):
        rows = [{"report": n, "epoch": 3 * n, "attempt": 1, "loss": v} for n, v in enumerate(values, start=1)]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (recorded / "trials" / trial).mkdir(parents=True, exist_ok=True)
        (recorded / "trials" / trial / "metrics.jsonl").write_text(lines)
    return Watcher(open_study("small", "runs")).look()


def drawn(watched: Watched, width: int, height: int = 40, encoding: str = "utf-8") -> list[str]:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Screen(raw, width=width).print(draw(watched, width, height))
    raw.flush()
    return raw.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


def test_watch_draws_the_curves_of_the_arms(watched: Watched) -> None:
    lines = drawn(watched, 120)
    rows = {line.split()[0]: line.rstrip() for line in lines if line.strip()}
    assert rows["baseline"].endswith("     █████▃▃▃▃▃▁")
    assert rows["no-batchnorm"].endswith("     ▇▇▇▇▇▆")


@pytest.mark.parametrize(
    ("width", "height", "encoding"), [(20, 10, "utf-8"), (1, 1, "ascii"), (120, 40, "ascii")]
)
def test_watch_on_any_terminal(watched: Watched, width: int, height: int, encoding: str) -> None:
    lines = drawn(watched, width, height, encoding)
    assert max(map(len, lines)) <= width
    assert ("curve" in "".join(lines)) is (width == 120)
    assert "\\u" not in "".join(lines)


def test_a_look_reads_what_may_have_changed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    of = watching.curve_of
    monkeypatch.setattr(watching, "curve_of", lambda *asked: read.append(asked[1].root) or of(*asked))
    watcher = Watcher(open_study("small", "runs"))
    first, second = watcher.look(), watcher.look()
    assert (first.curves, second.report) == (second.curves, first.report)
    again = [trial for trial in read if read.count(trial) > 1]
    assert set(again) == {"small/trials/baseline/seed-1"}, "the one that runs"
    monkeypatch.setattr(watching, "MOST_TRIALS", 3)
    assert (watcher.look().curves, watcher.look().report) == ((), None)


def test_watch_of_a_study_that_nobody_runs_shows_it_once(command, recorded: Path) -> None:
    assert len(command("watch", "small").out.splitlines()) == 1


def test_logs(command, recorded: Path) -> None:
    assert command("logs", "no-dropout", 0).out == "loading\nValueError: no such width\n"
    assert command("logs", "no-dropout", 0, "-f").out == "loading\nValueError: no such width\n"
    path = command("logs", "no-dropout", 0, "--study", "runs/small", "--path").out.strip()
    assert Path(path).read_text().startswith("loading")
    Path(path).write_text("")
    silent = command("logs", "no-dropout", 0)
    assert (silent.code, silent.out) == (0, "")
    assert "printed nothing" in silent.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-droput", 0], "did you mean no-dropout?"),
        (["no-dropout", 5], "valid: 0, 1"),
        (["baseline", 0], "no log yet"),
        (["no-dropout", 0, "--rank", 1], "no log yet"),
    ],
)
def test_logs_of_no_trial(command, recorded: Path, words: list[object], said: str) -> None:
    result = command("logs", *words)
    assert result.code == 2
    assert said in result.err


def test_following_a_log_prints_every_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    line = "%04d: a line of some length, so that landmarks are unique\n"
    whole = "".join(line % number for number in range(40)).encode()
    cut = whole[:500] + b"... dropped ...\n" + whole[1000:]  # what a capped log does
    contents = iter([b"", whole[:1200], whole[:1800], cut])
    open_until = iter([True, True, True, False])
    logs.tail(lambda: next(contents), lambda: next(open_until), lambda: None)
    assert capsys.readouterr().out.encode() == whole


def test_stop_asks_the_driver(command, driven) -> None:
    result = command("stop", "small")
    assert result.code == 0
    assert "asked process" in result.err
    requests = take_requests(Storage.open("runs"), StudyPaths("small"))
    assert len(requests) == 1


def test_stop_leaves_nothing_for_the_next_driver(command, recorded: Path) -> None:
    result = command("stop", "small")
    assert result.code == 0
    assert "nothing to stop" in result.err
    assert take_requests(Storage.open("runs"), StudyPaths("small")) == []


@pytest.mark.slow
def test_report_in_all_forms(command, recorded: Path) -> None:
    assert "no-dropout" in command("report", "small").out
    assert command("report", "small", "--markdown").out.startswith("# small\n")
    effects = command("report", "small", "--json").document
    assert {effect["arm"] for effect in effects["effects"]} == {"no-batchnorm", "no-dropout"}
    assert not (recorded / "report.md").exists(), "reading writes nothing"
    assert command("report", "small", "--latex").out.count(r"\begin{table}") == 1
    assert "-slim}" in command("report", "small", "--latex", "--slim").out
    page = command("report", "small", "--html").out
    assert page.startswith("<!doctype html>")


def test_an_unfinished_study_is_shown_and_its_code_is_1(command, recorded: Path) -> None:
    result = command("report", "small")
    assert result.code == 1
    assert result.out.startswith("incomplete: 3 of 6 cells have ended")
    assert command("report", "small", "--json").document["complete"] is False


def test_two_studies_side_by_side(command, recorded: Path) -> None:
    result = command("report", "small", "small")
    assert result.code == 1
    assert "no-dropout" in result.out
    assert command("report", "small", "small", "--json").document["effects"][0]["arm"] == "no-batchnorm"
    assert command("report", "small", "small", "--markdown").out.startswith("# small and small\n")


@pytest.mark.parametrize(
    "words",
    [
        ("small", "--json", "--markdown"),
        ("small", "small", "--html"),
        ("small", "small", "--write"),
        ("small", "--slim"),
    ],
)
def test_forms_that_do_not_go_together(command, recorded: Path, words: tuple[str, ...]) -> None:
    result = command("report", *words)
    assert result.code == 2
    assert len(result.faults) == 1


@pytest.mark.slow
def test_every_form_is_written_into_the_study(command, recorded: Path) -> None:
    effects = command("report", "small", "--json").document
    command("report", "small", "--write")
    assert json.loads((recorded / "effects.json").read_text()) == effects
    written = {"results.parquet", "results.csv", "report.md", "report.html", "references.bib"}
    assert {path.name for path in recorded.glob("re*.*")} == written
    assert (recorded / "table.tex").exists()
    assert (recorded / "figures" / "forest.pdf").exists()
