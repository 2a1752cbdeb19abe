"""Requests to a TensorBoard on loopback, passed on: TensorBoard itself asks nobody who they are.

Of its answers only the page's own HTML is changed, so that its fonts are found.
"""

from __future__ import annotations

import http.client
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.web.bodies import sent

ANSWER_S = 60.0
MOST_BYTES = 4_000_000
"""Of a request; TensorBoard's own are lists of tags and runs."""
_AS_IT_IS = "%/:?#[]@!$&'()*+,;="
_THERE = ("content-type", "accept", "accept-encoding")
_BACK = ("content-type", "content-encoding", "content-security-policy")


async def pass_on(request: Request, port: int, path: str) -> Response | None:
    """TensorBoard's answer, or None while nothing listens there."""
    body = await sent(request, MOST_BYTES)
    query = request.scope["query_string"].decode("latin-1")
    target = "/" + quote(path) + (f"?{quote(query, safe=_AS_IT_IS)}" if query else "")
    headers = {name: request.headers[name] for name in _THERE if name in request.headers}
    if not path:  # its page is changed
        headers.pop("accept-encoding", None)
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
    plain = back.get("content-encoding", "identity") == "identity"
    if plain and back.get("content-type", "").startswith("text/html"):
        content = content.replace(b"url(/", b"url(")  # its fonts, which it takes from the host's root
    return Response(content, answer.status, back)
