"""What user code reports and raises becomes plain on the worker, or is refused there, by name."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import enum
import json
import pickle
import random
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from entrypoints.anything import LOOP, Level, Phase, Sly, Stats, anything
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene

from orchestrator.api.recorded import OpenedStudy
from orchestrator.engine.attempts._said import (
    MOST_MESSAGE,
    MOST_TEXT,
    MOST_TRACE,
    RESERVED,
    ReportRefused,
    described,
    plain_report,
)
from orchestrator.engine.inprocess import report, session
from orchestrator.engine.inprocess._session import same_on_all_ranks
from orchestrator.errors import ExitCode

PLAIN = (int, float, str, bool, type(None))
COUNT = 3


class Whole(enum.Enum):
    LISTED = (1, 2)


class Text(str):
    __slots__ = ()


def one(value: Any, name: str = "x") -> Any:
    return plain_report({"epoch": 1, "loss": 0.5, name: value}, "report 1", "loss", "epoch")[name]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Phase.WARM, "warm"),
        (Level.HIGH, 3),
        (Whole.LISTED, [1, 2]),
        (Text("a"), "a"),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(4), 4),
        (np.bool_(True), True),
        (np.str_("s"), "s"),
        (np.array(2.5), 2.5),
        (np.zeros((2, 3)), [[0.0, 0.0, 0.0]] * 2),
        (2**70, float(2**70)),
        (Decimal("1.5"), 1.5),
        (Fraction(1, 4), 0.25),
        (Path("a/b"), "a/b"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ([1, {"k": (2,)}], [1, {"k": [2]}]),
        ("caf\udce9\x1b[2J\x00", "caf\\udce9\\x1b[2J\\x00"),
    ],
)
def test_what_stands_for_a_value(value: Any, plain: Any) -> None:
    assert one(value) == plain
    assert type(one(value)) is type(plain)


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        ({"x": Stats()}, r"'x' is a Stats \(of .*report numbers, texts, or lists"),
        ({"x": 10**400}, r"'x' is a whole number of about 401 digits"),
        ({"x": LOOP}, "'x' is nested deeper than 16 levels, or holds itself"),
        ({"x": np.zeros(200_000)}, "with 'x' it is larger than 1 MiB; keep such data in a checkpoint"),
        ({"x": b"ab"}, "'x' is a bytes; report"),
        ({"x": 1j}, "'x' is a complex; report"),
        ({"x": Sly()}, "cannot be read: RuntimeError: no "),
        ({("a", 1): 1}, "a key is a tuple; names of metrics are texts"),
        ({"a/b": 1, "a": {"b": 2}}, "two values are named 'a/b'"),
        ({"k" * 300: 1}, "has 300 characters; 200 are the most"),
        *(({name: 1}, f"'{name}' is a column that the record fills in itself") for name in RESERVED),
        ({"step": "1/10"}, r"'step' is the text '1/10', but it has to be a number; report float\(step\)"),
        ({"step": -1}, "'step' is -1; count steps from 0 or 1"),
        ({"epoch": float("nan")}, "'epoch' is nan, which is no place in a training"),
        ({"epoch": None}, "has no number under 'epoch', but the study counts"),
        ({"loss": np.array([0.5])}, r"'loss' is an ndarray of shape \(1,\), but it has to be a number"),
        ({"loss": "0.5"}, "'loss' is the text '0.5', but it has to be a number"),
        ({"loss": True}, "'loss' is a bool, but it has to be a number"),
    ],
)
def test_what_is_refused_is_named(reported: dict[Any, Any], said: str) -> None:
    with pytest.raises(ReportRefused, match=f"^report 1.*{said}"):
        plain_report({"epoch": 1, "loss": 0.5, **reported}, "report 1", "loss", "epoch")


@pytest.mark.parametrize(("what", "kind"), [(None, "a NoneType"), (3.0, "a float"), ([1], "a list")])
def test_a_report_is_a_dict(what: Any, kind: str) -> None:
    with pytest.raises(ReportRefused, match=f"report 1 is {kind}; report a dict of names and numbers"):
        plain_report(what, "report 1", "loss", "report")


TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    TEXTS,
    st.binary(max_size=4),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.datetimes(),
    st.sampled_from(
        [Phase.WARM, Level.HIGH, Whole.LISTED, Stats(), Text("t"), Sly(), LOOP, np.zeros((0, 2)), object, len]
    ),
    st.sampled_from(
        [np.float16(1), np.datetime64("NaT"), np.array("x"), np.array([None, 1]), np.longdouble(2)]
    ),
)
KEYS = st.one_of(
    TEXTS, st.sampled_from(["step", "epoch", "loss", *RESERVED]), st.integers(), st.none(), st.tuples()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def kinds(value: Any) -> Iterator[type]:
    yield type(value)
    if type(value) in (list, dict):
        for item in value if type(value) is list else value.values():
            yield from kinds(item)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_report_is_plain_or_refused(metrics: dict[Any, Any]) -> None:
    row, refused = {}, ""
    try:
        row = plain_report({"epoch": 1, "loss": 0.5, **metrics}, "report 1", "loss", "epoch")
    except ReportRefused as error:
        refused = str(error)
    refused.encode()
    assert len(refused) < 3 * MOST_MESSAGE
    assert set(kinds(row)) <= {*PLAIN, list, dict}
    assert not set(row) & set(RESERVED)
    json.dumps(row, ensure_ascii=False).encode()
    assert pickle.loads(pickle.dumps(row)).keys() == row.keys()
    assert all(len(text) <= 7 * MOST_TEXT for text in row.values() if isinstance(text, str))


class Mute(OSError):
    """An exception that fails at whatever it is asked."""

    def __str__(self) -> str:
        raise SystemExit(3)

    @property
    def __notes__(self) -> Any:
        raise RuntimeError


def huge() -> Exception:
    error = ValueError("x" * 300_000 + "\x1b[2J\x00\nsecond")
    error.add_note("a note \udce9")
    return error


@pytest.mark.parametrize(
    "error", [huge(), Mute(), ExceptionGroup("several", [huge(), KeyError()]), SystemExit([])]
)
def test_an_exception_is_bounded_whatever_it_says(error: BaseException) -> None:
    message, trace = described(error)
    (message + trace).encode()
    assert len(message) < MOST_MESSAGE + 200
    assert len(trace) < MOST_TRACE + 200
    assert "\x1b" not in message + trace
    assert message.split("\n")[0].startswith((type(error).__name__, f"{__name__}.Mute"))


@given(TEXTS)
def test_any_exception_can_be_shown(text: str) -> None:
    message, _ = described(ValueError(text))
    message.encode()
    assert message.startswith("ValueError")
    assert all(char.isprintable() or char.isspace() or ord(char) > 127 for char in message)


# ---- whole studies ----------------------------------------------------------------------------------


def reports(config: dict[str, Any], **also: Any) -> None:
    for epoch in range(1, COUNT + 1):
        row = {"epoch": epoch, "loss": (config["seed"] + config["level"]) / epoch}
        report({**row, **{name: value(epoch) if callable(value) else value for name, value in also.items()}})


def saying(**also: Any) -> Callable[..., None]:
    return lambda config: reports(config, **also)


def raising(error: BaseException) -> Callable[..., None]:
    def train(config: dict[str, Any]) -> None:
        report({"epoch": 1, "loss": config["seed"] + 1.0})
        raise error

    return train


def exiting(code: Any, epochs: int = COUNT) -> Callable[..., None]:
    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, epochs + 1):
            report({"epoch": epoch, "loss": (config["seed"] + config["level"]) / epoch})
        sys.exit(code)

    return train


def parsing(config: dict[str, Any]) -> None:
    argparse.ArgumentParser(prog="mine").parse_args(["--lr"])


def swallowing(config: dict[str, Any]) -> None:
    for epoch in range(1, COUNT + 1):
        with contextlib.suppress(Exception):
            report({"epoch": epoch, "loss": "much"})
    del config


def now_and_then(config: dict[str, Any]) -> None:
    for epoch in range(1, COUNT + 1):
        report({"epoch": epoch, "acc": 0.1, **({"loss": config["seed"] / epoch} if epoch < COUNT else {})})


async def awaited(config: dict[str, Any]) -> None:
    del config


def yielding(config: dict[str, Any]) -> Iterator[float]:
    yield config["level"]


def returning(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": config["level"]}


def on_rank(rank: int, **row: Any) -> Callable[..., None]:
    def train(config: dict[str, Any]) -> None:
        if session().rank == rank:
            reports(config, **row)

    return train


def metric_on_rank_1(config: dict[str, Any]) -> None:
    for epoch in range(1, COUNT + 1):
        report({"epoch": epoch, **({"loss": config["level"]} if session().rank else {"acc": 1.0})})


def disagreeing(config: dict[str, Any]) -> None:
    reports(config, epoch=lambda epoch: epoch + session().rank)


def left_alone_in_a_collective(config: dict[str, Any]) -> None:
    if session().rank == 0:
        same_on_all_ranks(None)
    reports(config)


def run(folder: Path, function: Callable[..., Any], **changes: Any) -> Scene:
    high = {"level": {"swap": {"high": {"level": 2.0}}}}
    scene = Scene(folder, **{"components": high, "loggers": ["tensorboard", "csv"], **changes})
    assert scene.run(function=function) in (ExitCode.DONE, ExitCode.FAILED)
    return scene


def write_every_form(scene: Scene, *, for_print: bool = True) -> None:
    written = OpenedStudy(scene.storage, scene.paths).report(write=True, for_print=for_print)
    assert written.total == len(scene.cells())
    assert Path(scene.storage.local_path(scene.paths.report_html)).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "cause", "said"),
    [
        (
            raising(ValueError("cannot identify caf\udce9.png")),
            "user",
            r"ValueError: cannot identify caf\\udce9.png",
        ),
        (raising(huge()), "user", "ValueError: xxx"),
        (raising(Mute()), "user", "test_what_trials_say.Mute: (what it says cannot be read"),
        (saying(x=Stats()), "user", "ReportRefused: report 1: 'x' is a Stats"),
        (saying(step="1/10"), "user", "ReportRefused: report 1: 'step' is the text '1/10'"),
        (saying(time_s=3), "user", "report 1: 'time_s' is a column that the record fills in itself"),
        (swallowing, "user", "returned after a report that was refused: report 1: 'loss' is the text 'much'"),
        (
            now_and_then,
            "user",
            "did not report 'loss' at its end, in report 3; the value of an earlier one (0",
        ),
        (
            saying(loss=None),
            "user",
            "the trial never reported 'loss'; metric.name must be a key that it reports",
        ),
        (exiting(2), "user", "SystemExit: 2 (after: "),
        (exiting("no data"), "user", "SystemExit: no data"),
        (exiting(0, 1), "short", "called sys.exit(0) at 1 of 3 epochs"),
        (parsing, "user", "(after: mine: error: unrecognized arguments: --lr)"),
        (awaited, "user", "TypeError: awaited is async"),
        (yielding, "user", "TypeError: yielding has a yield"),
        (returning, "user", "TypeError: returning returned a dict and reported nothing"),
        (lambda: None, "short", "returned without a report, at 0 of 3 epochs; call ray.train.report({...})"),
    ],
)
def test_a_trial_fails_by_its_own_words(
    tmp_path: Path, function: Callable[..., Any], cause: str, said: str
) -> None:
    scene = run(tmp_path, function)
    found = {(row["state"], row["cause"], row["attempts"]) for row in scene.cells()}
    assert found == {("failed", cause, 1)}
    assert all(said.replace(r"\\", "\\") in row["reason"] for row in scene.cells())
    if said.startswith(("ValueError", "test_what_trials_say.Mute")):  # texts of others
        write_every_form(scene, for_print=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function", [saying(x=Phase.WARM, cm=np.zeros((2, 3)), big=2**80), exiting(0), exiting(None)]
)
def test_a_trial_is_done_whatever_else_it_says(tmp_path: Path, function: Callable[..., Any]) -> None:
    assert {row["state"] for row in run(tmp_path, function).cells()} == {"done"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (
            on_rank(0),
            "of rank 1 returned without a report, at 0 of 3 epochs; call ray.train.report({...}) as it",
        ),
        (on_rank(1), "of rank 0 returned without a report"),
        (metric_on_rank_1, "rank 0, whose reports count, never reported 'loss'"),
        (disagreeing, "report 1 of rank 1 is at epoch 2, that of rank 0 at 1"),
    ],
)
def test_ranks_that_disagree_are_named(tmp_path: Path, function: Callable[..., Any], said: str) -> None:
    scene = run(tmp_path, function, resources={"workers": 2}, seeds=1)
    assert {(row["state"], row["attempts"]) for row in scene.cells()} == {("failed", 1)}
    assert all(said in row["reason"] for row in scene.cells())


@pytest.mark.slow
def test_a_rank_0_that_never_comes_to_its_first_report_is_named(tmp_path: Path) -> None:
    failures = {"max_retries": 0, "report_timeout": 5, "stop_when": "never"}
    scene = Scene(tmp_path, resources={"workers": 2}, seeds=1, failures=failures)
    run = scene.run(function=left_alone_in_a_collective, clock=lambda: 100 * time.monotonic())
    assert run is ExitCode.FAILED
    assert {(row["state"], row["cause"]) for row in scene.cells()} == {("failed", "hang")}
    said = "; other ranks wait at report 1 for rank 0: every rank has to make every report"
    assert all(row["reason"].endswith(said) for row in scene.cells())


@pytest.mark.slow
def test_the_lines_that_people_see_are_short_and_have_the_type(tmp_path: Path) -> None:
    scene = run(tmp_path, raising(huge()), seeds=1)
    (line, *_) = [event["message"] for event in scene.events("failure")]
    assert line.startswith("ValueError: xxx")
    assert len(line) < 3000


@pytest.mark.slow
def test_user_code_may_change_its_config(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        reports(config)
        config["nested"]["value"] = object()
        config.clear()

    scene = run(tmp_path, train, baseline={"level": 1.0, "nested": {"value": 1}})
    assert {row["state"] for row in scene.cells()} == {"done"}


@pytest.mark.slow
def test_what_a_writing_thread_raises_is_the_trials_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.record.tensorboard import EventFile

    def broken(*_: Any) -> None:
        raise TypeError("this logger takes no numbers")

    monkeypatch.setattr(EventFile, "scalars", broken)
    scene = run(tmp_path, saying(), seeds=1, failures={"max_retries": 0})
    assert {(row["state"], row["cause"]) for row in scene.cells()} == {("failed", "infra")}
    assert all("TypeError: this logger takes no numbers" in row["reason"] for row in scene.cells())


def fuzzed(epochs: int) -> Callable[..., None]:
    def train(config: dict[str, Any]) -> None:
        draw = random.Random(f"{config['seed']} {config['level']}")
        for epoch in range(1, epochs + 1):
            row = {"epoch": epoch, "loss": draw.random()}
            try:
                report({**anything(draw), **row})
            except ReportRefused:
                report(row)
        if config["level"] == 2.0:
            raise ValueError(*anything(draw))

    return train


@pytest.mark.parametrize(
    ("epochs", "seeds"),
    [pytest.param(40, 2, marks=pytest.mark.slow), pytest.param(250, 10, marks=pytest.mark.long)],
)
def test_any_reports_leave_a_study_with_results(tmp_path: Path, epochs: int, seeds: int) -> None:
    scene = run(tmp_path, fuzzed(epochs), stopping={"max": epochs, "unit": "epoch"}, seeds=seeds)
    assert {row["state"] for row in scene.cells() if row["arm"] == "baseline"} == {"done"}
    assert {row["cause"] for row in scene.cells() if row["arm"] != "baseline"} == {"user"}
    write_every_form(scene)
