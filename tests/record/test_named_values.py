"""A service that refuses a name or a value loses that one, not the others, and its run is closed."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.record.loggers import ServiceLogger, TrackedTrial
from orchestrator.record.trackers import named
from orchestrator.record.trackers.named import NamedValues
from orchestrator.record.trackers.serve import Server
from orchestrator.study.names import LOGGERS


class Service:
    """Takes plain names and numbers only, and all of a message or nothing."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Any]] = []
        self.calls = 0

    def send(self, values: Mapping[str, Any]) -> None:
        self.calls += 1
        for name, value in values.items():
            if not re.fullmatch(r"[\w./ -]+", name, re.ASCII):
                raise ValueError(f"Invalid metric name {name}")
            if not math.isfinite(value):
                raise ValueError("no number")
        self.taken += values.items()


def test_one_name_does_not_lose_the_others() -> None:
    service, said = Service(), list[str]()
    values = NamedValues(service.send, said.append)
    for step in range(5):
        values.put({"loss": step, "acc@1": step, "acc_1": -step, "bad": math.nan})
    assert [value for name, value in service.taken if name == "loss"] == list(range(5))
    assert [value for name, value in service.taken if name == "acc_1_"] == list(range(5))
    assert [value for name, value in service.taken if name == "acc_1"] == [0, -1, -2, -3, -4]
    assert said == [
        "'acc@1' goes by 'acc_1_' there: Invalid metric name acc@1",
        "'bad' = nan is left out: no number",
    ]


@given(
    st.lists(st.dictionaries(st.text(max_size=4), st.floats() | st.integers(-9, 9), max_size=4), max_size=4)
)
def test_all_that_a_service_takes_arrives(messages: list[dict[str, float]]) -> None:
    service = Service()
    values = NamedValues(service.send, lambda _: None)
    for message in messages:
        try:
            values.put(message)
        except ValueError:  # three messages of which nothing arrived
            return
    good = [v for message in messages for v in message.values() if math.isfinite(v)]
    assert sorted(value for _, value in service.taken) == sorted(good)


def test_a_service_that_does_not_answer_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "PATIENCE_S", -1.0)
    calls = []

    def silent(values: Mapping[str, Any]) -> None:
        calls.append(values)
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        NamedValues(silent, print).put({"a": 1, "b": 2})
    assert len(calls) == 1
    assert time.monotonic() > 0


class Picky(ServiceLogger):
    """Takes no values, and remembers how it was closed."""

    closed: list[tuple[str, dict[str, float]]] = []  # noqa: RUF012 - of all of them, for the test
    remarks = ("'seed' is left out",)

    def __init__(self, trial: TrackedTrial) -> None:
        pass

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        raise ValueError("nothing")

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        self.closed.append((state, dict(finals)))


def test_a_run_is_closed_whatever_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOGGERS, "get", lambda name: Picky)
    said: list[dict[str, Any]] = []
    server = Server(["picky"], said.append)
    server.take(
        {
            "open": {
                "run_id": "r",
                "study": "s",
                "name": "n",
                "arm": "a",
                "seed": 0,
                "config": {},
                "folder": ".",
            }
        }
    )
    for step in range(5):
        server.take({"scalars": {"loss": 1.0}, "step": step, "time": 0.0})
    server.take({"close": "done", "finals": {"loss": 1.0}})
    server.end()
    assert Picky.closed == [("done", {})]
    words = [one["warning"] for one in said if "warning" in one]
    assert words[0] == "picky: 'seed' is left out"
    assert words[1] == "picky: 'loss' = 1.0 is left out: nothing"
    assert words[2] == "picky: ValueError: nothing"
