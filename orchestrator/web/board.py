"""Requests to a TensorBoard on loopback, passed on: TensorBoard itself asks nobody who they are."""

from __future__ import annotations

import http.client

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

ANSWER_S = 60.0
MOST_BYTES = 4_000_000
"""Of a request; TensorBoard's own are lists of tags and runs."""
_THERE = ("content-type", "accept", "accept-encoding")
_BACK = ("content-type", "content-encoding", "content-security-policy")


async def pass_on(request: Request, port: int, path: str) -> Response | None:
    """TensorBoard's answer, or None while nothing listens there."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return Response("too long", 413)
    query = request.url.query
    target = f"/{path}?{query}" if query else f"/{path}"
    headers = {name: request.headers[name] for name in _THERE if name in request.headers}
    return await run_in_threadpool(_ask, port, request.method, target, body, headers)


def _ask(port: int, method: str, target: str, body: bytes, headers: dict[str, str]) -> Response | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        content = answer.read()
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return Response(f"TensorBoard: {error}", 502)
    finally:
        connection.close()
    back = {name: value for name in _BACK if (value := answer.getheader(name)) is not None}
    back.setdefault("content-security-policy", "frame-ancestors 'self'")  # its plugins are frames of its page
    return Response(content, answer.status, back)
