"""What a request brings, and how long it may take: nobody who stops halfway keeps a connection."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 15.0
BODY_S = 30.0


async def sent(request: Request, most: int) -> bytes:
    """Return the body of a request. Raises 413 when it has more than `most` bytes, 408 when it stays away."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise HTTPException(413, "what was sent is too long")
    except TimeoutError:
        raise HTTPException(408, f"what was sent did not end within {BODY_S:.0f} s") from None
    return bytes(body)


class PunctualConnections(H11Protocol):
    """Closes connections on which no whole head of a request has come within `HEADERS_S`."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on only where no request is complete."""
        super().data_received(data)
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        elif not busy and self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADERS_S, self.transport.close)
