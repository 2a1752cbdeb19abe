"""What open pages are told: one look for all of them, the newest version first, nothing without a session."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from served_site import Served, record_study, serve, write_files

from orchestrator.record.events import Noted
from orchestrator.web import livepages, news
from orchestrator.web.answers import Site
from orchestrator.web.app import make_app
from orchestrator.web.bodies import PunctualConnections
from orchestrator.web.news import News
from orchestrator.web.pageserver import PageServer

SOON_S = 20.0


class Versions:
    """A look that finds what it was told to find; `looks`: how often it was taken."""

    def __init__(self) -> None:
        self.now, self.looks = "1", 0

    def __call__(self) -> tuple[str, float]:
        self.looks += 1
        return self.now, 0.001


async def version(events: AsyncIterator[bytes]) -> str:
    """The next version that is told."""
    async for event in events:
        if event.startswith(b"event: version"):
            return event.decode().split("data: ")[1].strip()
    raise AssertionError("the stream has ended")


def test_all_viewers_share_one_look_and_the_last_one_ends_it() -> None:
    async def scene() -> None:
        told, look = News(), Versions()
        streams = [told.told("a", look, lambda: True) for _ in range(5)]
        assert [await version(one) for one in streams] == ["1"] * 5
        look.now = "2"
        assert [await version(one) for one in streams] == ["2"] * 5
        late = told.told("a", Versions(), lambda: True)
        assert await version(late) == "2"  # the newest one, at once, of the look that goes on
        for one in (*streams, late):
            assert told.watched == ("a",)
            await one.aclose()
        assert told.watched == ()
        before = look.looks
        await asyncio.sleep(0.01)
        assert look.looks <= before + 1  # the one under way

    asyncio.run(asyncio.wait_for(scene(), SOON_S))


def test_a_silent_stream_beats_and_ends_with_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "BEAT_S", 0.01)
    heard: list[bytes] = []

    async def scene() -> None:
        told = News().told("a", Versions(), lambda: len(heard) < 4)
        while event := await anext(told, b""):
            heard.append(event)

    asyncio.run(asyncio.wait_for(scene(), SOON_S))
    assert heard[0] == b"retry: 1000\n\n"
    assert heard.count(b"event: version\ndata: 1\n\n") == 1
    assert b": still here\n\n" in heard


def test_what_is_felt_in_between_does_not_wait_for_a_look_that_is_far_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look that took long is not taken again soon, but a driver that dies is told."""
    monkeypatch.setattr(news, "FEEL_S", 0.001)
    now = ["1"]

    async def scene() -> None:
        stream = News().told("a", lambda: (now[0], 3600.0), lambda: True, lambda: now[0])
        assert await version(stream) == "1"
        now[0] = "2"
        assert await version(stream) == "2"
        await stream.aclose()

    asyncio.run(asyncio.wait_for(scene(), SOON_S))


def test_a_look_that_breaks_ends_its_streams() -> None:
    def broken() -> tuple[str, float]:
        raise RuntimeError("not ours")

    async def scene() -> list[bytes]:
        told = News()
        heard = [event async for event in told.told("a", broken, lambda: True)]
        assert told.watched == ()
        return heard

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that nobody has asked for the fault
    try:
        assert loop.run_until_complete(asyncio.wait_for(scene(), SOON_S)) == [b"retry: 1000\n\n"]
    finally:
        loop.close()


def test_what_a_look_sees(tmp_path: Path) -> None:
    write_files(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(tmp_path, "busy")
    site = serve(tmp_path).site
    first, pause = livepages.look_at_one(site, "busy")
    assert (livepages.look_at_one(site, "busy"), pause) == ((first, pause), livepages.SOON_S)
    whole = livepages.look_at_all(site)
    record.append(Noted("more"))
    record.sync()
    assert livepages.look_at_one(site, "busy")[0] != first
    assert livepages.look_at_all(site) != whole
    record.close()
    assert livepages.look_at_one(site, "busy")[1] == livepages.LATER_S
    (tmp_path / "runs" / "busy" / "plan.json").write_text("{")
    broken = serve(tmp_path).site
    assert livepages.look_at_one(broken, "busy") == livepages.look_at_one(broken, "busy")


@contextmanager
def on_a_port(site: Site, port: int = 0) -> Iterator[tuple[str, PageServer]]:
    """The address of the real server over a site, and the server; it ends as with Ctrl-C."""
    listener = socket.create_server(("127.0.0.1", port))
    kinds = {"http": PunctualConnections, "ws": "none", "timeout_graceful_shutdown": 10 * SOON_S}
    server = PageServer(uvicorn.Config(make_app(site), log_level="critical", **kinds), site.news.close)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{site.sessions.base}", server
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    record_study(tmp_path)
    return serve(tmp_path)


def first_version(answer: httpx.Response) -> tuple[str, Generator[str]]:
    """The newest version, which is told at once, and the lines after it."""
    lines = (line for line in answer.iter_lines() if line)
    assert [next(lines), next(lines)] == ["retry: 1000", "event: version"]
    return next(lines), lines


def cells_of(site: Site) -> tuple[str, ...]:
    kept = site.studies.named("small")
    assert kept is not None
    return tuple(kept.recorded.state.cells)


@pytest.mark.slow
def test_streams_of_the_real_server(served: Served) -> None:
    """They need a session, are forgotten when their reader leaves, and end when the server does."""
    site, cookies = served.site, dict(served.client.cookies)
    with httpx.Client(cookies=cookies, timeout=SOON_S) as client:
        with on_a_port(site) as (address, server):
            assert httpx.get(f"{address}/events").status_code == 401
            assert client.get(f"{address}/studies/none/events").status_code == 404
            with client.stream("GET", f"{address}/events") as answer:
                _, held = first_version(answer)  # let go, they would close the stream
                assert site.news.watched == ("/",)
                held.close()
            deadline = time.monotonic() + SOON_S
            while site.news.watched:
                assert time.monotonic() < deadline, "the stream of a reader that has left goes on"
                time.sleep(0.01)
            with client.stream("GET", f"{address}/studies/small/events") as answer:
                assert answer.headers["content-type"].startswith("text/event-stream")
                assert answer.headers["cache-control"] == "no-store"
                trial = f"{address}/studies/small/trial/events"
                assert client.get(trial, params={"cell": "none"}).status_code == 404
                with client.stream("GET", trial, params={"cell": next(iter(cells_of(site)))}) as other:
                    _, held = first_version(other)
                    assert len(site.news.watched) == 2
                    held.close()
                found, lines = first_version(answer)
                server.should_exit = True
                assert list(lines) == []
        again = replace(site)  # another server takes its place, with the sessions that there are
        port = int(address.split(":")[2].partition("/")[0])
        with (
            on_a_port(again, port) as (address, _),
            client.stream("GET", f"{address}/studies/small/events") as answer,
        ):
            assert first_version(answer)[0] != found
