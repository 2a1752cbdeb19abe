"""Tells open pages that there is something new to show: server-sent events.

However many pages show the same thing, one look is taken for all of them, in a thread of the pool; a page
that waits costs a coroutine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

BEAT_S = 15.0
"""A stream is never silent for longer: who is in between keeps it open, and the end of a session is seen."""
RETRY_MS = 1000
"""After what time a browser asks again when the server is away."""
SHARE = 0.05
"""Of the time, at most, that looks at one thing may take."""

FEEL_S = 1.0
"""Between two looks at what costs next to nothing, where the next whole one is further away."""

Look = Callable[[], tuple[str, float]]
"""Returns the version of what there is, and how many seconds to wait before the next look."""

Feel = Callable[[], object]
"""Returns, cheaply, something of which another value is worth a look at once."""


class _Watch:
    """One thing that pages show. `version`: as of the last look; `turn`: set when there is another one."""

    def __init__(self, look: Look, feel: Feel | None) -> None:
        self.version, self.viewers, self.turn = "", 0, asyncio.Event()
        self._look, self._feel = look, feel
        self.task = asyncio.ensure_future(self._go_on())

    async def _go_on(self) -> None:
        while True:
            felt = await self._felt()
            began = time.monotonic()
            version, pause_s = await run_in_threadpool(self._look)
            took = time.monotonic() - began
            if version != self.version:
                self.version = version
                self.wake()
            due = time.monotonic() + max(pause_s, took / SHARE)
            while (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left if self._feel is None else min(left, FEEL_S))
                if await self._felt() != felt:
                    break

    async def _felt(self) -> object:
        return None if self._feel is None else await run_in_threadpool(self._feel)

    def wake(self) -> None:
        """Let every viewer look whether there is something for it."""
        self.turn.set()
        self.turn = asyncio.Event()


class News:
    """What is watched, by name. All of it happens in the server's event loop."""

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}
        self._closed = False

    @property
    def watched(self) -> tuple[str, ...]:
        """What some page shows now."""
        return tuple(self._watches)

    def close(self) -> None:
        """End every stream, and begin no other."""
        self._closed = True
        for watch in self._watches.values():
            watch.wake()

    async def told(
        self, what: str, look: Look, goes_on: Callable[[], bool], feel: Feel | None = None
    ) -> AsyncIterator[bytes]:
        """Yield events: `version` with the newest version first, then with each other one.

        Args:
            what: the name of what is watched.
            look: looks at it, in a thread; the one of the first viewer is taken for all.
            feel: looks for less, and often, in between.
            goes_on: whether the viewer may still be told: else it ends, at the latest after `BEAT_S`.
        """
        watch = self._watches.get(what)
        if watch is None or watch.task.done():
            watch = self._watches[what] = _Watch(look, feel)
        watch.viewers += 1
        said = ""
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._closed and goes_on() and not watch.task.done():
                turn = watch.turn
                if watch.version != said:
                    said = watch.version
                    yield f"event: version\ndata: {said}\n\n".encode()
                elif not await _within(BEAT_S, turn, watch.task):
                    yield b": still here\n\n"
        finally:
            watch.viewers -= 1
            if not watch.viewers:
                watch.task.cancel()
                if self._watches.get(what) is watch:
                    del self._watches[what]


async def _within(seconds: float, turn: asyncio.Event, task: asyncio.Future[None]) -> bool:
    """Wait for the event, or for the end of a task; returns whether one of them came in time."""
    waiting = asyncio.ensure_future(turn.wait())
    try:
        done, _ = await asyncio.wait((waiting, task), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return bool(done)


def event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the answer that tells a browser of these events for as long as it listens."""
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
