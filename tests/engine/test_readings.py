"""What a command writes becomes the reports of its trial, whole, in order, and however it arrives."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from orchestrator.engine.command import _events
from orchestrator.engine.command._spoken import patterns_of
from orchestrator.engine.command.readings import MetricsUnclear, Readings, readings_of, reports_file
from orchestrator.study.metricsource import MetricSource

METRIC = "val/acc"


def reading(folder: Path, spec: Any = None, unit: str = "epoch", metric: str = METRIC) -> Readings:
    return readings_of(spec, folder, metric, unit)


def record(event: Event) -> bytes:
    """One record as writers frame it; the checksums are not looked at."""
    message = event.SerializeToString()
    return len(message).to_bytes(8, "little") + b"crc?" + message + b"crc!"


def points(step: int, **values: float) -> bytes:
    """The records of one step, one for each value; `val_acc` is val/acc."""
    named = {name.replace("_", "/"): value for name, value in values.items()}
    return b"".join(
        record(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
        for tag, value in named.items()
    )


# ---- lines of stdout --------------------------------------------------------------------------------------


def test_json_lines_among_others(tmp_path: Path) -> None:
    found = reading(tmp_path)
    for line in (
        "loading {data}",
        json.dumps({"config": {"lr": 0.1}}),
        json.dumps({"epoch": 1, "val": {"acc": 0.5}, "note": "first"}),
        "Epoch 2: 50%|####\r\x1b[32mINFO:\x1b[0mtrain:"
        + json.dumps({"epoch": 2, "val/acc": "0.75", "time_s": 3}),
        "{'epoch': '3', 'val/acc': np.float64(nan), 'lr': '-1e-3'}",
        "{'epoch': 4, 'val/acc': __import__('os')}",
    ):
        found.line(line + "\n")
    first, second, third = found.poll()
    assert first == {"epoch": 1, "val/acc": 0.5, "note": "first", "config/lr": 0.1}
    assert second == {"epoch": 2, "val/acc": 0.75, "my_time_s": 3}
    assert (third["epoch"], third["lr"]) == (3, -1e-3)
    assert math.isnan(third["val/acc"])
    assert found.poll() == found.close() == []


def test_a_value_of_the_metric_makes_a_report_and_takes_along_what_was_said_before(tmp_path: Path) -> None:
    found = reading(tmp_path)
    for line in ({"epoch": 1, "loss": 3.0}, {"val/acc": 0.1}, {"loss": 2.0}, {"epoch": 2, "val/acc": 0.2}):
        found.line(json.dumps(line))
    assert found.poll() == [
        {"epoch": 1, "loss": 3.0, "val/acc": 0.1},
        {"epoch": 2, "loss": 2.0, "val/acc": 0.2},
    ]


def test_named_patterns_of_lines(tmp_path: Path) -> None:
    spec = {"pattern": [r"Epoch (?P<epoch>\d+)/", r"accuracy[:=]\s*(?P<val_acc>[^ ]+)"]}
    found = reading(tmp_path, spec)
    for line in ("Epoch 1/3", "val accuracy: 0.25", "Epoch 2/3 accuracy=5e-1, done", "accuracy: nan%"):
        found.line(line)
    *reports, last = found.close()
    assert reports == [{"epoch": 1, "val/acc": 0.25}, {"epoch": 2, "val/acc": 0.5}]
    assert math.isnan(last["val/acc"])


def test_the_first_epoch_may_be_called_nought(tmp_path: Path) -> None:
    found = reading(tmp_path)
    for epoch in range(2):
        found.line(json.dumps({"epoch": epoch, "val/acc": 0.5}))
    assert [report["epoch"] for report in found.close()] == [1, 2]
    resumed = reading(tmp_path)  # a later attempt, which begins in the middle
    resumed.line(json.dumps({"epoch": 2, "val/acc": 0.5}))
    assert [report["epoch"] for report in resumed.close()] == [3]
    told = reading(tmp_path / "other", {"counts_from": 1})
    told.line(json.dumps({"epoch": 0, "val/acc": 0.5}))
    assert [report["epoch"] for report in told.close()] == [0]


@pytest.mark.parametrize("name", ["global_step", "train/step", "Iteration"])
def test_places_by_the_names_that_commands_give_them(name: str, tmp_path: Path) -> None:
    found = reading(tmp_path, unit="step")
    found.line(json.dumps({name: 50, "val/acc": 0.5}))
    assert found.poll()[0]["step"] == 50


# ---- files of lines ---------------------------------------------------------------------------------------

CSV = b"epoch,train_loss,val/acc,note\r\n1,0.5,0.25,\xff\r\n2,,0.5,ok\r\n3,0.1,NaN,\r\n"
JSONL = (
    b'{"epoch": 1, "val/acc": 0.25}\nno json\n\n{"epoch": 2, "val/acc": 0.5}\n{"epoch": 3, "val/acc": NaN}'
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "content"), [("log.csv", CSV), ("log.jsonl", JSONL)])
@given(cuts=st.lists(st.integers(0, 90), max_size=6))
def test_any_split_of_a_file_in_time_gives_the_same_reports(
    name: str, content: bytes, cuts: list[int]
) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found, reports = reading(folder, {"file": "log.*"}), []
        with (folder / name).open("wb", buffering=0) as stream:
            for start, end in spans(cuts, len(content)):
                stream.write(content[start:end])
                reports += found.poll()
        reports += found.close()
        assert [report["epoch"] for report in reports] == [1, 2, 3]
        assert [repr(report["val/acc"]) for report in reports] == ["0.25", "0.5", "nan"]


def spans(cuts: list[int], length: int) -> list[tuple[int, int]]:
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    return list(pairwise(edges))


def test_a_file_that_is_written_anew_with_every_epoch(tmp_path: Path) -> None:
    found, reports = reading(tmp_path, {"file": "log.csv"}), []
    for last in range(1, 4):
        rows = [f"{epoch},{epoch / 10}" for epoch in range(1, last + 1)]
        if last == 3:  # with a new column
            rows = [f"{row},7" for row in rows]
        text = "\n".join(["epoch,val/acc" + ",lr" * (last == 3), *rows]) + "\n"
        (tmp_path / "log.csv").write_text("")  # looked at in the middle of it
        reports += found.poll()
        (tmp_path / "log.csv").write_text(text)
        reports += found.poll()
    assert [(report["epoch"], report["val/acc"]) for report in reports] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert reports[-1]["lr"] == 7


def test_a_file_that_is_rotated_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    found = reading(tmp_path, {"file": "log.jsonl"})
    log.write_text(json.dumps({"epoch": 1, "val/acc": 0.1}) + "\n")
    reports = found.poll()
    with log.open("a") as stream:
        stream.write(json.dumps({"epoch": 2, "val/acc": 0.2}) + "\n")
    log.rename(tmp_path / "log.1")
    log.write_text(json.dumps({"epoch": 3, "val/acc": 0.3}) + "\n")
    reports += found.poll() + found.poll() + found.close()
    assert [report["epoch"] for report in reports] == [1, 2, 3]


def test_what_an_earlier_attempt_wrote_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch,val/acc\n1,0.1\n")
    (tmp_path / "tfevents.old").write_bytes(points(1, val_acc=0.1))
    found, events = reading(tmp_path, {"file": "log.csv"}), reading(tmp_path)
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("2,0.2\n")
    assert found.close() == [{"epoch": 2, "val/acc": 0.2}]
    assert events.close() == []


def test_a_huge_line_is_left_out_as_a_whole(tmp_path: Path) -> None:
    found = reading(tmp_path, {"file": "log.jsonl"})
    with (tmp_path / "log.jsonl").open("w") as stream:
        stream.write(
            '{"epoch": 1, "x": "' + "y" * (9 << 20) + '", "val/acc": 1}\n{"epoch": 1, "val/acc": 0.5}\n'
        )
    assert found.close() == [{"epoch": 1, "val/acc": 0.5}]


# ---- event files ------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_any_split_of_an_event_file_gives_the_same_reports(cuts: list[int]) -> None:
    with TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_events, "MOST_MESSAGE", 400)
        folder = Path(temporary)
        picture = Summary.Image(encoded_image_string=b"x" * 500)
        content = record(Event(file_version="brain.Event:2"))
        content += points(1, train_loss=3.0, val_acc=0.25, epoch=1)
        content += record(Event(step=2, summary=Summary(value=[Summary.Value(tag="p", image=picture)])))
        content += points(2, train_loss=2.0) + points(2, val_acc=0.5, epoch=2)
        content += points(3, train_loss=1.0) + points(3, val_acc=0.75, epoch=3)
        cuts = [cut if cut < 350 else len(content) - (cut - 350) for cut in cuts]
        (folder / "runs").mkdir()
        found, reports = reading(folder), []
        with (folder / "runs" / "events.out.tfevents.1.host").open("wb", buffering=0) as stream:
            for start, end in spans(cuts, len(content)):
                stream.write(content[start:end])
                reports += found.poll()
                found._others[1]._next = 0.0  # type: ignore[attr-defined] - look for new files at once
        assert reports + found.close() == [
            {"epoch": step, "step": step, "train/loss": 4.0 - step, "val/acc": step / 4} for step in (1, 2, 3)
        ]


def grown(folder: Path, found: Readings, content: bytes) -> list[dict[str, Any]]:
    with (folder / "events.out.tfevents.1").open("ab") as stream:
        stream.write(content)
    found._others[1]._next = 0.0  # type: ignore[attr-defined]
    return found.poll()


def test_a_report_of_an_event_file_waits_for_no_later_step_once_its_parts_are_known(tmp_path: Path) -> None:
    found = reading(tmp_path)
    assert grown(tmp_path, found, points(0, val_acc=0.25, val_loss=1.0)) == []
    assert len(grown(tmp_path, found, points(1, train_loss=0.5))) == 1
    assert grown(tmp_path, found, points(1, val_acc=0.5)) == []
    report = {"epoch": 2, "step": 1, "train/loss": 0.5, "val/acc": 0.5, "val/loss": 2.0}
    assert grown(tmp_path, found, points(1, val_loss=2.0)) == [report]


def test_steps_that_are_no_epochs_are_named(tmp_path: Path) -> None:
    found = reading(tmp_path)
    with pytest.raises(MetricsUnclear, match="at step 391 and no 'epoch'"):
        grown(tmp_path, found, points(391, val_acc=0.25) + points(782, val_acc=0.25))
    steps = reading(tmp_path / "other", unit="step")
    (tmp_path / "other").mkdir()
    assert [
        report["step"] for report in grown(tmp_path / "other", steps, points(391, val_acc=1) + points(392))
    ] == []
    assert [report["step"] for report in steps.close()] == [391]


def test_two_directories_with_the_metric_are_named(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    found, exact = reading(tmp_path, metric="acc"), reading(tmp_path, metric="validation/acc")
    for index, name in enumerate(("train", "validation")):
        (tmp_path / "logs" / name / "tfevents.1").write_bytes(points(1, acc=index))
    with pytest.raises(MetricsUnclear, match=r"metric.name: validation/acc"):
        found.close()
    assert [report["validation/acc"] for report in exact.close()] == [1]


def test_a_file_that_is_no_event_file_is_left_alone(tmp_path: Path) -> None:
    found = reading(tmp_path)
    (tmp_path / "my.tfevents").write_bytes(b"\xff" * 1000)
    (tmp_path / "other.tfevents").write_bytes((5).to_bytes(8, "little") + b"crc?" + b"\xff" * 9)
    assert found.close() == []


# ---- which source counts ----------------------------------------------------------------------------------


def test_what_the_command_reports_itself_counts_before_all_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, line = reading(tmp_path), json.dumps({"epoch": 0, "val/acc": 0.5})
    reports_file(tmp_path).parent.mkdir()
    with reports_file(tmp_path).open("w") as stream:
        stream.write(json.dumps({"metrics": {"val/acc": 1.0}, "checkpoint": "/x"}) + "\n")
    found.line(line)
    (report,) = found.poll()
    assert report == {"val/acc": 1.0}
    assert report.checkpoint == Path("/x")  # type: ignore[attr-defined]
    assert "JSON lines on stdout have 'val/acc' too; they are not counted" in capsys.readouterr().err


def test_the_source_that_has_the_metric_first_counts(tmp_path: Path) -> None:
    found = reading(tmp_path)
    found.line(json.dumps({"epoch": 1, "val/acc": 0.5}))
    (tmp_path / "tfevents.1").write_bytes(points(1, val_acc=0.25))
    assert found.close() == [{"epoch": 1, "val/acc": 0.5}]


def test_a_metric_that_is_never_written_is_told_with_what_was(tmp_path: Path) -> None:
    found = reading(tmp_path)
    found.line(json.dumps({"epoch": 1, "val_acc": 0.5}))
    assert found.close() == []
    assert "found there: epoch, val_acc; did you mean val_acc?" in found.missing()


def test_what_is_looked_at_is_told_while_nothing_is_read(tmp_path: Path) -> None:
    found = reading(tmp_path)
    assert found.so_far() == (
        "'val/acc' is looked for in JSON lines on stdout (0 printed), TensorBoard event files (none), "
        "orchestrator.report (not called); what would be read is a line such as "
        '{"epoch": 1, "val/acc": 0.5}, or what `metrics` of the entrypoint names'
    )
    (tmp_path / "tfevents.1").write_bytes(points(1, train_loss=0.25))
    found.line("starts")
    assert found.poll() == []
    told = found.so_far()
    assert "stdout (1 printed), TensorBoard event files (1 found)" in told
    assert "; found there: train/loss;" in told
    named = reading(tmp_path, {"file": "logs/*.csv"})
    assert "the file logs/*.csv (not there)" in named.so_far()


@pytest.mark.parametrize(
    "spec", [{}, {"file": "a/*.csv"}, {"pattern": r"loss (?P<loss>\S+)"}, {"tensorboard": "b"}]
)
def test_validate_names_the_places_that_are_read(tmp_path: Path, spec: dict[str, str]) -> None:
    places = ", ".join(MetricSource.model_validate(spec).places)
    assert f"Looked at {places}; nothing" in reading(tmp_path, spec).missing()


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("Epoch 3: train_loss=0.5, val_acc=0.25", {"epoch": 3, "val/acc": 0.25}),
        ("\x1b[32m[step 7] Val Acc: -1.5e-3 |", {"step": 7, "val/acc": -1.5e-3}),
        ("val/acc  nan_free 1", None),
        ("eval_acc: 0.5", None),
    ],
)
def test_a_printed_line_with_the_metric_gives_the_pattern_that_reads_it(
    tmp_path: Path, line: str, report: dict[str, float] | None
) -> None:
    found = reading(tmp_path)
    found.line(line)
    assert found.close() == []
    patterns = patterns_of(line, METRIC)
    assert all(one in found.missing() for one in patterns)
    assert ("is read with metrics: {pattern: [" in found.missing()) == bool(patterns) == (report is not None)
    if report is not None:
        again = reading(tmp_path, {"pattern": patterns}, unit="report")
        again.line(line)
        assert again.close() == [report]
