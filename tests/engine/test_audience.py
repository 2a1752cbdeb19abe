"""Who listens to a run cannot touch it: listeners that fail, hang or are slow."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import TestCase

import pytest

from orchestrator.engine import driver, running
from orchestrator.engine.running import Audience
from orchestrator.errors import ExitCode


class Kept:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def update(self, snapshot: Any) -> None:
        self.seen.append(snapshot)

    note = update


def test_all_is_shown_in_order_before_the_end() -> None:
    kept = Kept()
    with Audience(kept) as audience:
        for number in range(6):
            audience.note(str(number))
            audience.update(number)  # type: ignore[arg-type]
    assert [one for one in kept.seen if isinstance(one, str)] == [str(number) for number in range(6)]
    assert kept.seen[:2] == ["0", 0]


def test_a_listener_that_fails_is_told_nothing_more() -> None:
    class Broken(Kept):
        def update(self, snapshot: Any) -> None:
            super().update(snapshot)
            raise BrokenPipeError

        note = update

    broken = Broken()
    with TestCase().assertLogs("orchestrator") as logged, Audience(broken) as audience:
        audience.note("one")
        audience.note("two")
    assert broken.seen == ["one"]
    assert "the study goes on" in logged.output[0]


def test_a_listener_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SHOWN_WITHIN_S", 0.05)
    let_go = threading.Event()

    class Hanging(Kept):
        def note(self, text: str) -> None:
            let_go.wait()

    with Audience(Hanging()) as audience:
        for _ in range(10_000):
            audience.note("text")
            audience.update(SimpleNamespace())  # type: ignore[arg-type]
        assert audience._said.qsize() <= 100 * running.MOST_UNSEEN
    let_go.set()


class Asked:
    def __init__(self) -> None:
        self.stops: list[tuple[str, ExitCode]] = []
        self.notes: list[str] = []

    def stop_soon(self, reason: str, code: ExitCode) -> None:
        self.stops.append((reason, code))

    def note(self, text: str) -> None:
        self.notes.append(text)


@contextmanager
def handled(number: signal.Signals, handler: Any) -> Any:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED),
        (signal.SIGTERM, ExitCode.TERMINATED),
        (signal.SIGHUP, ExitCode.TERMINATED),
    ],
)
def test_signals_stop_cleanly(number: signal.Signals, code: ExitCode) -> None:
    pump = Asked()
    with handled(number, signal.SIG_DFL), driver._signals_to(pump):
        signal.raise_signal(number)
    assert pump.stops == [(f"stopped by {number.name}", code)]


def test_a_second_signal_ends_it_at_once() -> None:
    pump = Asked()
    with handled(signal.SIGTERM, signal.SIG_DFL), driver._signals_to(pump):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the second one leaves the block")
    assert pump.notes == [driver.LEAVING, "stopping at once"]
    assert pump.stops == [
        ("stopped by SIGTERM", ExitCode.TERMINATED),
        ("stopped at once", ExitCode.INTERRUPTED),
    ]


def test_nohup_goes_on() -> None:
    pump = Asked()
    with handled(signal.SIGHUP, signal.SIG_IGN), driver._signals_to(pump):
        signal.raise_signal(signal.SIGHUP)
    assert pump.stops == []
