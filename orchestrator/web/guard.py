"""Who may talk to the page: token, session, Host, Origin. One ASGI layer around all routes.

* Host: the name that the server was bound to, or this machine's own. Another one is a name that a stranger
  has pointed here (DNS rebinding).
* Token: once, in the address; compared in constant time. A signed session in an HttpOnly, SameSite=Strict
  cookie takes its place, which ends by itself or when it is asked to.
* Browsers send a cookie to every port of its host, but only below its path. So the pages lie below a path
  that nobody can guess (`Sessions.base`), and the cookie belongs to it: another server of the host gets none.
* A report is a page with a script, and its script knows its address. So files do not lie below that path but
  below a ticket, which reads the files of one study, without a cookie and for as long as the session.
* What changes anything is a POST from our own pages: Origin is ours, and the form holds the session's word.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from html import escape
from threading import Lock
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.keptsecrets import KeptSecrets, Secrets

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD")
_FILES = re.compile(r"/studies/([^/]+)/files/")
SESSION_S = 12 * 3600
"""How long a session holds: a working day."""


class Sessions:
    """Signed session cookies. Only those that were ended are remembered.

    `base`: the path that all pages lie below; new at every start of the server, but where `kept` has that of
    the server before, whose sessions then go on.
    """

    def __init__(
        self, token: str, clock: Callable[[], float] = time.time, kept: KeptSecrets | None = None
    ) -> None:
        self._token, self._clock = token, clock
        self._kept, self._one_at_a_time = kept, Lock()
        found = kept.read(clock()) if kept is not None else None
        self._secrets = found or Secrets(secrets.token_bytes(32), f"/{secrets.token_urlsafe(18)}")
        self.base = self._secrets.base

    def opens(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def new(self) -> str:
        """Return the cookie of a new session."""
        until = int(self._clock()) + SESSION_S
        name = f"{secrets.token_urlsafe(18)}-{until}"
        with self._one_at_a_time:
            self._keep(replace(self._secrets, until=until))
        return f"{name}.{self._sign('session', name)}"

    def holds(self, cookie: str) -> bool:
        """Whether this server, or the one before it, has signed the cookie, and its session goes on."""
        return self._goes_on("session", cookie)

    def ticket(self, cookie: str, study: str) -> str:
        """Return what reads the files of one study, and nothing else, while the session goes on."""
        name = cookie.partition(".")[0]
        return f"{name}.{self._sign(f'files of {study}', name)}"

    def admits(self, ticket: str, path: str) -> bool:
        """Whether the ticket is one for this path."""
        study = _FILES.match(path)
        return study is not None and self._goes_on(f"files of {study[1]}", ticket)

    def end(self, cookie: str) -> None:
        """Let a session hold no longer."""
        with self._one_at_a_time:
            self._keep(replace(self._secrets, ended=self._secrets.ended | {cookie.partition(".")[0]}))

    def word(self, cookie: str) -> str:
        """Return what a form of this session has to hold."""
        return self._sign("form", cookie)

    def _keep(self, now: Secrets) -> None:
        self._secrets = now
        if self._kept is not None:
            self._kept.write(now)

    def _goes_on(self, purpose: str, signed: str) -> bool:
        name, _, signature = signed.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(purpose, name).encode()):
            return False
        return name not in self._secrets.ended and self._clock() < int(name.rpartition("-")[2])

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._secrets.key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """Lets a request through, or answers it.

    Sets `session` in the scope's state, the cookie or, with a ticket, nothing; and `root_path`: the base or
    the ticket that the request came below.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, host: str, port: int) -> None:
        self._app = app
        self._sessions = sessions
        self._host = host
        self.cookie = f"orchestrate-{port}"  # browsers share cookies between the ports of a host
        self._names = {host.lower(), "localhost", "127.0.0.1", "::1"}
        if _is_wildcard(host):
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refuse(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refused or self._app)(scope, receive, with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the answer to a request that goes no further, or None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._knows(host):
            return page("This is not the name of this server.", 421)
        first, slash, rest = scope["path"][1:].partition("/")
        if scope["method"] in _READING and self._sessions.admits(first, slash + rest):
            scope.setdefault("state", {})["session"] = ""
            scope["root_path"] = f"/{first}"
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        if given and scope["method"] in _READING:
            return self._open(given[0])
        cookie = next(filter(self._sessions.holds, self._cookies(headers)), None)
        if cookie is None:
            from_elsewhere = headers.get("sec-fetch-site") == "cross-site"
            if from_elsewhere and scope["method"] in _READING:
                query = scope.get("query_string", b"").decode("latin-1")
                # a strict cookie is sent when our own page asks
                return onwards(quote(scope["path"]) + (f"?{query}" if query else ""))
            message = "Open the address that <code>orchestrate serve</code> has printed, with its token."
            return page(message, 401)
        if scope["method"] not in _READING and headers.get("origin") not in (
            f"http://{host}",
            f"https://{host}",
        ):
            return page("Only pages of this server may ask for that.", 403)
        scope.setdefault("state", {})["session"] = cookie
        if scope["path"].startswith(f"{self._sessions.base}/"):
            scope["root_path"] = self._sessions.base
        return None

    def _cookies(self, headers: Headers) -> list[str]:
        """Return all that go by the name of ours: other ports of the host can set some, too."""
        pairs = (pair.strip().partition("=") for pair in "; ".join(headers.getlist("cookie")).split(";"))
        return [value for name, _, value in pairs if name == self.cookie]

    def _open(self, token: str) -> Response:
        if not self._sessions.opens(token):
            return page("This is not the token of this server, which has a new one at each start.", 401)
        base = self._sessions.base
        answer = onwards(f"{base}/")  # the token leaves the address line
        new = self._sessions.new()
        answer.set_cookie(self.cookie, new, SESSION_S, httponly=True, samesite="strict", path=base)
        return answer

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]").lower()
        return name in self._names or (_is_wildcard(self._host) and _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to `host`."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


_HEAD = '<!doctype html><title>orchestrate</title><link rel="icon" href="data:,">'


def page(message: str, code: int) -> Response:
    """Return a short answer. `message` is HTML of our own."""
    return HTMLResponse(f"{_HEAD}<p>{message}</p>\n", code)


def onwards(path: str) -> Response:
    """Return a page that asks for `path`, a quoted one, itself: then the browser sends the strict cookie."""
    safe = escape("/" + path.lstrip("/"), quote=True)
    head = f'<meta http-equiv="refresh" content="0; url={safe}">'
    return HTMLResponse(f'{_HEAD}{head}<p><a href="{safe}">on</a></p>\n')


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
