"""Connections that stop halfway, TensorBoard behind the page, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn
from served_site import HOST, Served, record_study, serve, write_files
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from orchestrator.web import board, bodies
from orchestrator.web.bodies import PunctualConnections, sent


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    record_study(tmp_path)
    return serve(tmp_path)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that reads what is sent and answers with its length, in a thread; patience is short."""
    import threading

    monkeypatch.setattr(bodies, "HEADERS_S", 0.2)
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    app = Starlette()

    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await sent(request, 100))))

    app.add_route("/", length, methods=["POST"])
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    kinds = {"http": PunctualConnections, "ws": "none", "timeout_keep_alive": 1}
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **kinds))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", b""),
        (b"POST / HT", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf", b"408"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n" + b"x" * 200, b"413"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhalf", b"200"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nPOST / H", b"200"),
    ],
)
@pytest.mark.slow
def test_a_connection_that_stops_halfway_is_closed(port: int, said: bytes, answer: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(said)
        heard = b""
        while part := connection.recv(10_000):  # times out where nobody closes
            heard += part
    assert heard[9:12] == answer


@pytest.mark.parametrize("path", ["%ff", "%00", "a%0db", "%e2%82", "x?tag=%ff", "x?a=b c"])
def test_any_path_goes_to_tensorboard_as_it_came(served: Served, path: str, monkeypatch) -> None:
    asked = []

    def ask(port: int, method: str, target: str, *_: object) -> PlainTextResponse:
        asked.append(target.encode("ascii"))
        return PlainTextResponse("here")

    monkeypatch.setattr(board, "_ask", ask)
    monkeypatch.setattr(served.site.children, "board", lambda name: 1)
    answer = served.client.get(f"/studies/small/tensorboard/{path}")
    assert (answer.status_code, answer.text) == (200, "here")
    assert not set(b" \r\n\0") & set(asked[0])


BOARD = """
import signal, sys
from pathlib import Path
from orchestrator.web.children import ChildProcesses
children = ChildProcesses(Path(sys.argv[1]))
port = children.open_board("small", "runs/small")
print(port, flush=True)
signal.pause()
"""


def descendants(pid: int) -> list[int]:
    """The processes that one has started, and they."""
    found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(below for one in found for below in descendants(one))]


@pytest.mark.long
def test_tensorboard_ends_with_the_page_however_that_ends(served: Served) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", BOARD, str(served.root)]
    server = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with server.stdout as told:
        port = int(told.readline())
        deadline = time.monotonic() + 120
        while not answers(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answers(port)
        board = descendants(server.pid)
        assert len(board) >= 2  # the lifeline and TensorBoard
        handles = [os.pidfd_open(pid) for pid in board]
        server.kill()
        server.wait()
        for handle in handles:
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            assert gone.poll(20_000), "it is still there"
            os.close(handle)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_hostile_requests_are_refused_or_inert(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a fault of ours, with the session's word and from our own pages, too."""
    from hypothesis import given, settings
    from hypothesis import strategies as st

    places = st.sampled_from(
        [
            "/",
            "/new",
            "/leave",
            "/studies/small/",
            "/studies/small/files/",
            "/studies/small/tensorboard/",
            "/studies/small/stop",
            "/launches/",
            "/static/",
            "/studies/",
            "/studies/small/again",
            "/studies/small/retry",
            "/studies/small/retry?cell=",
            "/studies/small/?cells=",
            "/studies/small/?cells_first=1&arm=",
            "/?studies=",
        ]
    )
    tails = st.one_of(
        st.text(max_size=40),
        st.sampled_from(["%ff", "%00", "..%2f", "%0d%0a", "a" * 5000, "%ed%a0%80", "\\", "//", "?token=%ff"]),
    )
    sessions = served.site.sessions
    ticket = sessions.ticket(served.client.cookies["orchestrate-8765"], "small")
    firsts = st.sampled_from([sessions.base[1:], ticket, ticket[:-1], f"x{ticket}"])
    headers = st.dictionaries(
        st.sampled_from(["host", "origin", "cookie", "sec-fetch-site", "content-type", "accept-encoding"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
        max_size=3,
    )

    said = st.one_of(st.text(), st.sampled_from(["start", "extend", "--help", "configs/small.yaml", "[1]"]))
    fields = st.dictionaries(
        st.one_of(st.sampled_from(["action", "cell", "seeds", "config", "flag", "component"]), st.text()),
        st.one_of(said, st.lists(said, max_size=3)),
        max_size=4,
    )
    forms = fields.map(
        lambda sent: urlencode({"word": served.word(), **sent}, True, errors="ignore").encode()
    )

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 2, "", "error: not here")

    monkeypatch.setattr(served.site.children, "ask", ask)
    monkeypatch.setattr(served.site.children, "launch", lambda *words: "20260101-000000-00000000")
    monkeypatch.setattr(served.site.children, "open_board", lambda *words: 1)

    @settings(max_examples=5 * settings().max_examples)
    @given(
        st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS"]),
        firsts,
        places,
        tails,
        headers,
        st.one_of(st.binary(), forms),
    )
    def one(method: str, first: str, place: str, tail: str, extra: dict[str, str], body: bytes) -> None:
        try:
            url = f"http://{HOST}/{first}{place}{tail}"
            ours = {"origin": f"http://{HOST}"} if body.startswith(b"word=") else {}
            sends = {key: value.encode("latin-1") for key, value in {**extra, **ours}.items()}
            request = served.client.build_request(method, url, headers=sends, content=body)
        except Exception:  # the client itself refuses to ask for that
            return
        assert served.client.send(request, follow_redirects=False).status_code != 500

    one()
