"""Who may talk to the page, and who may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from served_site import HOST, TOKEN, Served, record_study, serve, write_files

from orchestrator.web.guard import Sessions, is_loopback


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    return serve(tmp_path)


def stranger(served: Served) -> TestClient:
    """Without a session."""
    return TestClient(served.client.app, base_url=f"http://{HOST}")


@pytest.mark.parametrize("path", ["/", "/new", "/static/page.css", "/studies/small/", "/nothing"])
def test_nothing_is_shown_without_the_token(served: Served, path: str) -> None:
    assert stranger(served).get(path).status_code == 401
    assert stranger(served).get(path, params={"token": "the-toke"}).status_code == 401


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(served: Served) -> None:
    answer = stranger(served).get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert TOKEN not in answer.text
    base = served.site.sessions.base
    assert f'url={base}/"' in answer.text
    assert f"Path={base};" in cookie
    assert "Max-Age=43200" in cookie


def test_another_port_of_this_host_gets_no_cookie(served: Served) -> None:
    """Browsers send cookies to all ports of a host, and only below their path."""
    for path in ("/", "/new", "/studies/small/", f"{served.site.sessions.base}x/"):
        request = served.client.build_request("GET", f"http://127.0.0.1:9999{path}")
        assert "cookie" not in request.headers, path
    assert "cookie" in served.client.build_request("GET", "/studies/small/").headers


def test_a_cookie_that_another_port_has_set_throws_nobody_out(served: Served) -> None:
    mine = served.client.cookies["orchestrate-8765"]
    cookie = f"orchestrate-8765={mine}; orchestrate-8765=theirs"
    assert (
        stranger(served).get(f"{served.site.sessions.base}/", headers={"cookie": cookie}).status_code == 200
    )


@pytest.mark.slow
def test_files_lie_below_a_ticket_that_opens_nothing_else(served: Served) -> None:
    """Their scripts know their address, and may tell it to anybody."""
    record_study(served.root)
    folder = served.client.get("/studies/small/files/trials/no-batchnorm/seed-0/", follow_redirects=False)
    assert folder.status_code == 200
    file = served.client.get("/studies/small/files/plan.json", follow_redirects=False)
    assert (file.status_code, file.headers["referrer-policy"]) == (303, "no-referrer")
    way = file.headers["location"]
    ticket = way.removesuffix("/studies/small/files/plan.json")
    secrets = (served.site.sessions.base, served.client.cookies["orchestrate-8765"], served.word())
    anybody = stranger(served)
    assert anybody.get(way).json()["study"] == "small"
    for path in ("", "trials", "trials/no-batchnorm/seed-0/", "none.txt", "control/"):
        answer = anybody.get(f"{ticket}/studies/small/files/{path}")
        assert answer.status_code == (404 if path in ("none.txt", "control/") else 200), path
        assert not [secret for secret in secrets if secret in f"{answer.text}{answer.headers}{answer.url}"]
    elsewhere = ["", "/", "/new", "/studies/small/", "/studies/small/files", "/studies/other/files/plan.json"]
    elsewhere += ["/static/page.css", "/studies/small/files/../", "/studies/small/files/%2e%2e/"]
    for path in elsewhere:
        assert anybody.get(f"{ticket}{path}").status_code in (401, 404), path
    assert anybody.post(way).status_code == 401
    assert anybody.get(way.replace(ticket, f"{ticket}0")).status_code == 401
    served.post("/leave")
    assert anybody.get(way).status_code == 401


def test_a_session_ends_by_itself_and_when_it_is_asked_to(served: Served) -> None:
    now = [1000.0]
    sessions = Sessions(TOKEN, lambda: now[0])
    first, second = sessions.new(), sessions.new()
    sessions.end(first)
    assert (sessions.holds(first), sessions.holds(second)) == (False, True)
    now[0] += 12 * 3600
    assert not sessions.holds(second)
    assert served.post("/leave").status_code == 200
    assert served.client.get("/").status_code == 401


def test_a_cookie_cannot_be_made_to_last(served: Served) -> None:
    name, _, signature = served.site.sessions.new().partition(".")
    longer = f"{name.rpartition('-')[0]}-99999999999.{signature}"
    assert not served.site.sessions.holds(longer)


def test_a_cookie_of_another_server_is_none(served: Served) -> None:
    cookie = Sessions(TOKEN).new()
    headers = {"cookie": f"orchestrate-8765={cookie}"}
    assert stranger(served).get("/", headers=headers).status_code == 401


def test_a_link_from_elsewhere_arrives(served: Served) -> None:
    answer = stranger(served).get('/studies/a"b/', headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'url=/studies/a%22b/"' in answer.text
    answer = stranger(served).post("/new", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
def test_a_name_that_leads_here_by_rebinding_is_refused(served: Served, host: str) -> None:
    assert served.client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765"])
def test_names_of_this_machine(served: Served, host: str) -> None:
    assert served.client.get("/", headers={"host": host}).status_code == 200


def test_bound_to_all_addresses_any_address_will_do_but_no_foreign_name(tmp_path: Path) -> None:
    client = serve(tmp_path, "0.0.0.0").client
    assert client.get("/", headers={"host": "10.0.0.1:8765"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999"])
@pytest.mark.parametrize("path", ["/new", "/studies/small/stop", "/studies/small/tensorboard/data"])
def test_only_our_own_pages_may_change_anything(served: Served, origin: str | None, path: str) -> None:
    headers = {} if origin is None else {"origin": origin}
    answer = served.client.post(path, data={"word": served.word()}, headers=headers)
    assert answer.status_code == 403


def test_a_form_needs_the_word_of_its_session(served: Served) -> None:
    other = served.site.sessions.word(served.site.sessions.new())
    for word in ("", "x", "ä", other):
        answer = served.client.post("/new", data={"word": word}, headers={"origin": f"http://{HOST}"})
        assert answer.status_code == 403
    assert served.post("/new", action="validate", config="configs/none.yaml").status_code == 422


def test_a_form_that_is_too_long_is_not_read(served: Served) -> None:
    assert served.post("/new", config="x" * 300_000).status_code == 413
    assert served.post("/new", **{f"f{number}": "1" for number in range(2000)}).status_code == 413


def test_pages_run_no_foreign_script_and_are_not_framed(served: Served) -> None:
    headers = served.client.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1")] == [True] * 3
    assert [is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "example.org", "::")] == [False] * 4
