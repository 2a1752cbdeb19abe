"""The HTTP server of the page: it ends with Ctrl-C although browsers hold streams open."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn


class PageServer(uvicorn.Server):
    """Ends what would go on for ever before it waits for open requests. `ending` does that."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to listen, and wait for the requests that end by themselves."""
        self._ending()
        await super().shutdown(sockets)
