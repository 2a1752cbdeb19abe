"""A server that is started again at the same address: open pages go on, and what has ended stays ended."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import REPOSITORY
from served_site import record_study, write_files
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

from orchestrator.record.events import Noted
from orchestrator.web.guard import SESSION_S, Sessions
from orchestrator.web.keptsecrets import KeptSecrets

NOW = 1_000_000.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user's programs keep what they need again; not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def server(token: str = "token", now: float = NOW, port: int = 8765) -> Sessions:
    return Sessions(token, lambda: now, KeptSecrets("/work", "/work/runs", "127.0.0.1", port))


def test_a_session_goes_on_at_the_next_server_for_as_long_as_it_would_have() -> None:
    first = server()
    mine, left = first.new(), first.new()
    first.end(left)
    again = server("another", NOW + 60)
    assert again.base == first.base
    assert (again.holds(mine), again.holds(left)) == (True, False)
    assert again.word(mine) == first.word(mine)
    assert not again.opens("token"), "an address that was printed before opens nothing"
    late = server(now=NOW + SESSION_S)
    assert late.base != first.base
    assert not late.holds(mine)


def test_a_server_elsewhere_has_secrets_of_its_own() -> None:
    mine = server().new()
    other = server(port=8766)
    assert not other.holds(mine)
    assert other.base not in (server().base, "")


def test_nobody_else_reads_them(state: Path) -> None:
    server().new()
    (file,) = (state / "orchestrator" / "serve").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "token" not in file.read_text()


def spoilt(file: Path, how: str) -> None:
    facts = json.loads(file.read_text())
    texts = {
        "empty": "",
        "short key": json.dumps({**facts, "key": "00"}),
        "path": json.dumps({**facts, "base": "/"}),
        "deeper path": json.dumps({**facts, "base": "/" + "a/" * 20}),
        "list": "[]",
        "no time": json.dumps({**facts, "until": None}),
        "deep": "[" * 100_000,
        "surrogate": json.dumps({**facts, "key": "\ud800"}),
    }
    if how == "others read it":
        file.chmod(0o640)
    elif how == "directory":
        file.unlink()
        file.mkdir()
    else:
        file.write_text(texts[how])


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "short key",
        "path",
        "deeper path",
        "list",
        "no time",
        "deep",
        "surrogate",
        "others read it",
        "directory",
    ],
)
def test_what_cannot_be_trusted_is_passed_over(state: Path, how: str) -> None:
    first = server()
    mine = first.new()
    (file,) = (state / "orchestrator" / "serve").iterdir()
    spoilt(file, how)
    again = server()
    assert again.base != first.base
    assert not again.holds(mine)
    assert again.holds(again.new())


def test_without_a_place_sessions_end_with_the_server(state: Path) -> None:
    state.write_text("a file")
    mine = server().new()
    assert not server().holds(mine)


def test_one_that_was_ended_does_not_go_on_where_that_could_not_be_written(state: Path) -> None:
    first = server()
    mine = first.new()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # as on a disk that is full
    first.end(mine)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((state / "orchestrator" / "serve").iterdir())
    assert not server().holds(mine)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def serving(root: Path, port: int, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of the server and the address that it has printed; killed at the end."""
    words = [sys.executable, "-m", "orchestrator", "serve", str(root), "--port", str(port), *flags]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_server_is_followed_by_one_that_knows_its_visitors(tmp_path: Path) -> None:
    write_files(tmp_path)
    port = free_port()
    with httpx.Client() as client:
        with serving(tmp_path, port) as (_, address):
            answer = client.get(address)
            home = answer.text.partition("url=")[2].partition('"')[0]
            here = f"http://127.0.0.1:{port}{home}"
            assert client.get(here).status_code == 200
        with serving(tmp_path, port) as (_, fresh):
            assert fresh != address
            assert client.get(here).status_code == 200
            assert client.get(address).status_code == 401
        with serving(tmp_path, port, "--forget"):
            assert client.get(here).status_code == 401


@pytest.mark.web
def test_an_open_page_is_right_again_and_stays_where_it_is(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    write_files(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(tmp_path, "busy")
    port = free_port()
    with browser() as page:
        with serving(tmp_path, port) as (_, address):
            page.goto(address)
            page.set_viewport_size({"width": 800, "height": 400})
            page.get_by_role("link", name="busy").click()
            page.get_by_role("link", name="baseline seed 0: done").focus()
            page.evaluate("window.mark = 'not loaded again'")
            stood: Any = page.evaluate("scrollY")
        page.get_by_text("The server is away").wait_for(timeout=WAIT_MS)
        record.append(Noted("said while nobody served"))
        record.sync()
        with serving(tmp_path, port):
            page.get_by_text("said while nobody served").wait_for(timeout=WAIT_MS)
            page.get_by_text("The server is away").wait_for(state="detached", timeout=WAIT_MS)
            assert page.evaluate("[window.mark, document.activeElement.title.slice(0, 21)]") == [
                "not loaded again",
                "baseline seed 0: done",
            ]
            assert stood > 0
            assert abs(page.evaluate("scrollY") - stood) < 100
            # and when the driver dies
            record.lease.release()
            page.locator("#driver").get_by_text("nobody runs it now").wait_for(timeout=WAIT_MS)
            page.get_by_role("button", name="Resume").wait_for(timeout=WAIT_MS)
    record.close()
