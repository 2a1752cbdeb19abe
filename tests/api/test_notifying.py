"""A study tells of itself by a real server and a real command, and neither ever holds it up."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Study, run_local
from orchestrator.api.delivery import Command, NotDelivered, Target, Webhook, targets_of
from orchestrator.api.notifying import Gathering, Notifier, try_out
from orchestrator.engine.inprocess import report
from orchestrator.errors import ExitCode
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.reporting.notices import FailedTrial, Notice
from orchestrator.study.notify import NotifySpec

pytestmark = pytest.mark.slow

NOTICE = Notice("end", "toy: <done> & well", {"study": "toy", "exit_code": 0, "counts": {"done": 1}})
SECRET = "a-path-that-nobody-may-see"
FAILED = FailedTrial("a seed 1", "a", 1, None, "user", "no")


class Server(ThreadingHTTPServer):
    """Keeps what it is sent; `answer`: its status, None: it never answers."""

    daemon_threads = True
    answer: int | None = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self) -> list[str]:
        return [document["event"] for _, document in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, document))
        if self.server.answer is None:
            self.server.over.wait()
            return
        self.send_response(self.server.answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HOOK", f"{made.url}/{SECRET}")
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()


# ---- one delivery ----------------------------------------------------------------------------------------


def trouble(target: Target) -> str:
    with pytest.raises(NotDelivered) as caught:
        target.deliver(NOTICE)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_webhook_gets_what_slack_and_programs_read(server: Server) -> None:
    hook = Webhook(NotifySpec(webhook="${HOOK}"))
    hook.deliver(NOTICE)
    document = {"text": "toy: &lt;done&gt; &amp; well", "event": "end", "study": "toy", "exit_code": 0}
    assert server.got == [(f"/{SECRET}", {**document, "counts": {"done": 1}})]
    assert hook.name == "webhook ${HOOK}"


@pytest.mark.parametrize(("answer", "said"), [(404, "it answers 404"), (302, "it answers 302")])
def test_what_a_server_refuses_is_told(server: Server, answer: int, said: str) -> None:
    server.answer = answer
    assert trouble(Webhook(NotifySpec(webhook="${HOOK}"))).startswith(said)
    assert len(server.got) == 1


def test_a_server_that_hangs_is_left(server: Server) -> None:
    server.answer = None
    assert trouble(Webhook(NotifySpec(webhook="${HOOK}"), within_s=0.2)) == "it does not answer within 0.2 s"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "HOOK is not set"),
        (f"file:///{SECRET}", "no http:// or https:// URL"),
        (f"http://127.0.0.1:1/{SECRET}", "it cannot be reached"),
        (f"http://127.0.0.1:port/{SECRET}", "it cannot be reached: InvalidURL"),
    ],
)
def test_a_url_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, value: str | None, said: str) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("HOOK", value)
    assert said in trouble(Webhook(NotifySpec(webhook="${HOOK}")))


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code.replace("{", "{{").replace("}", "}}"), "{event}")


KEEP = """
import json, os, sys
told = json.load(sys.stdin)
with open("told.jsonl", "a") as file:
    own = [os.environ[name] for name in ("ORCHESTRATE_TEXT", "ORCHESTRATE_STUDY")]
    file.write(json.dumps([sys.argv[1], told, *own]))
    file.write("\\n")
"""


def test_a_command_gets_the_document_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Command(python(KEEP)).deliver(NOTICE)
    told = json.loads(Path("told.jsonl").read_text())
    assert told == ["end", NOTICE.document(), NOTICE.text, "toy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            python("import sys; sys.exit('first\\nno such mailbox')"),
            "it ended with exit code 1: no such mailbox",
        ),
        (("no-such-program-here",), "it cannot be started: No such file or directory"),
    ],
)
def test_a_command_that_fails_is_told(words: tuple[str, ...], said: str) -> None:
    assert trouble(Command(words)) == said


def test_a_command_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    code = "import os, signal; os.fork(); signal.pause()"
    assert trouble(Command(python(code), within_s=1.0)) == "it was ended, since it took longer than 1 s"


# ---- how many --------------------------------------------------------------------------------------------


def test_forty_failures_are_few_messages() -> None:
    gathering = Gathering(quiet_s=300)
    gathering.add([("failure", FAILED)])
    assert gathering.wait_s(0.0) == 0.0
    assert gathering.due(0.0) == [("failure", [FAILED])]
    assert gathering.wait_s(1.0) is None
    gathering.add([("failure", FAILED)] * 39)
    assert gathering.due(1.0) == []
    assert gathering.wait_s(100.0) == 200.0
    assert gathering.due(300.0) == [("failure", [FAILED] * 39)]
    gathering.add([("failure", FAILED)])
    assert gathering.due(301.0) == []
    assert gathering.rest() == [("failure", [FAILED])]
    assert gathering.wait_s(302.0) is None


# ---- whole studies ---------------------------------------------------------------------------------------


def train(config: dict[str, Any]) -> None:
    if config["level"] > 2.5:
        raise ValueError("too high a level")
    for epoch in range(1, int(config["max_length"]) + 1):
        report({"epoch": epoch, "loss": config["level"] * (10 + 0.01 * config["seed"]) + 1 / epoch})


def with_failures(study: dict[str, Any], notify: dict[str, Any]) -> Study:
    levels = {f"l{n}": {"level": float(n)} for n in range(2, 8)}
    return Study.from_dict({**study, "components": {"level": {"swap": levels}}, "notify": notify})


def test_a_study_tells_of_failures_once_and_of_its_end(study: dict[str, Any], server: Server) -> None:
    planned = with_failures(study, {"webhook": "${HOOK}", "command": list(python(KEEP))})
    result = run_local(planned, function=train, progress="none")
    assert result.exit_code is ExitCode.FAILED
    assert server.events == ["failure", "end"]
    (_, failed), (_, ended) = server.got
    assert (
        "level=l3 seed 0 failed (user): ValueError: too high a level. Next: orchestrate logs"
        in failed["text"]
    )
    assert "ended with failures: 4 of 14 trials answered, 10 failed." in ended["text"]
    assert ended["exit_code"] == 1
    assert ended["next"] == f"orchestrate status {result.outcome.root}"
    assert [json.loads(line)[0] for line in Path("told.jsonl").read_text().splitlines()] == server.events
    for file in Path("runs").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_look_that_decides_is_told(study: dict[str, Any], server: Server) -> None:
    stopping = {"rule": "resolve", "max": 2, "unit": "epoch"}
    planned = Study.from_dict(
        {**study, "seeds": 4, "stopping": stopping, "notify": {"webhook": "${HOOK}", "on": ["look", "end"]}}
    )
    assert run_local(planned, function=train, progress="none").exit_code is ExitCode.DONE
    assert server.events[0] == "look"
    assert server.events[-1] == "end"
    look, end = server.got[0][1], server.got[-1][1]
    assert "level=two different, Δ loss +10" in look["text"]
    assert "1 of 1 change matters" in end["headline"]


def test_nobody_is_told_of_what_is_not_wanted_nor_of_one_trial(study: dict[str, Any], server: Server) -> None:
    planned = with_failures(study, {"webhook": "${HOOK}", "on": ["failure"]})
    run_local(planned, function=train, progress="none")
    assert server.events == ["failure", "failure"]  # the rest, when nothing more can happen
    assert server.got[1][1]["failed"] == 9
    run_local(planned, "level=l3", 0, function=train, progress="none")
    assert len(server.got) == 2


class Notes:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, snapshot: Any) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_what_cannot_be_told_is_said_once_and_changes_nothing(
    study: dict[str, Any], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = None
    notify = {"webhook": "${HOOK}", "command": "no-such-program-here"}
    planned, notes = with_failures(study, notify), Notes()
    monkeypatch.setattr("orchestrator.api.notifying.targets_of", lambda spec: targets_of(spec, 0.2))
    said: list[str] = []
    monkeypatch.setattr("orchestrator.api.notifying._to_log", said.append)
    result = run_local(planned, function=train, progress=notes)
    assert result.counts == {"done": 4, "failed": 10}
    told = [note for note in [*notes.notes, *said] if note.startswith("notify:")]
    assert len(told) == 2
    assert "notify: webhook ${HOOK}: it does not answer within 0.2 s; the study goes on" in told[0]
    assert "command no-such-program-here: it cannot be started" in told[1]


def test_a_variable_that_is_not_set_is_told_at_the_start(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    notes = Notes()
    planned = Study.from_dict({**study, "notify": {"webhook": "${HOOK}"}})
    assert run_local(planned, function=train, progress=notes).exit_code is ExitCode.DONE
    told = [note for note in notes.notes if note.startswith("notify:")]
    assert told == ["notify: nothing goes to the webhook, since HOOK is not set here"]


def test_a_run_that_an_error_ends_is_told_and_one_that_never_began_is_not(
    study: dict[str, Any], server: Server
) -> None:
    planned = Study.from_dict({**study, "notify": {"webhook": "${HOOK}"}})
    with pytest.raises(RuntimeError, match="refused"), Notifier(planned):
        raise RuntimeError("refused before anything began")
    assert server.got == []
    with (
        closing(StudyRecord.open(planned.storage, planned.spec, planned.plan, Start("code"))) as record,
        pytest.raises(RuntimeError, match="the disk"),
        Notifier(planned) as notifier,
        notifier.beside(record, lambda text: None),
    ):
        raise RuntimeError("the disk is gone")
    assert [document["stopped_by"] for _, document in server.got] == ["the disk is gone"]


def test_the_same_study_goes_on_with_others_told(study: dict[str, Any], server: Server) -> None:
    run_local(Study.from_dict(study), function=train, progress="none")
    told = Study.from_dict({**study, "notify": {"webhook": "${HOOK}"}})
    assert told.forecast().begins == "resume"
    assert run_local(told, function=train, progress="none").exit_code is ExitCode.DONE
    assert server.events == ["end"]


def test_a_test_message_says_who_is_reached(study: dict[str, Any], server: Server) -> None:
    planned = Study.from_dict({**study, "notify": {"webhook": "${HOOK}", "command": "no-such-program-here"}})
    assert try_out(planned) == [
        ("webhook ${HOOK}", None),
        ("command no-such-program-here", "it cannot be started: No such file or directory"),
    ]
    assert server.got[0][1]["text"] == "levels: a test: messages of this study arrive here"
