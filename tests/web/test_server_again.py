"""A server that was killed and started again: open pages go on, and nothing that was ended holds again."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from served_site import record_study, write_files

from orchestrator.cli.app import main
from orchestrator.errors import InputError
from orchestrator.record.events import Noted
from orchestrator.web.guard import SESSION_S, Sessions
from orchestrator.web.serversecret import SecretFile, ServerSecret, private_place

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "serve"


def taken(folder: Path, now: float = 1000.0, root: str = "/a", *, anew: bool = False) -> ServerSecret:
    """What a server finds that is killed at once: its lock is gone with it."""
    file = SecretFile(folder, Path(root), "runs")
    try:
        return file.take(now, SESSION_S, anew=anew)
    finally:
        file.release()


def test_the_next_server_of_a_directory_has_the_secret_as_long_as_a_session_may_hold(folder: Path) -> None:
    first = taken(folder)
    assert taken(folder, 1000.0 + SESSION_S - 1) == first
    assert taken(folder, root="/b").token != first.token
    other = taken(folder, 1000.0 + SESSION_S)
    assert not {other.token, other.key, other.base} & {first.token, first.key, first.base}
    assert taken(folder, 0.0) != other  # a clock that was set back says nothing of age


def test_new_token_ends_what_rested_on_the_one_before(folder: Path) -> None:
    first = taken(folder)
    session = Sessions(first).new()
    new = taken(folder, anew=True)
    assert not Sessions(new).holds(session)
    assert not Sessions(new).opens(first.token)
    assert taken(folder) == new


def test_a_session_holds_for_the_next_server_and_one_that_was_ended_does_not(folder: Path) -> None:
    now = [1000.0]
    file = SecretFile(folder, Path("/a"), "runs")
    before = Sessions(file.take(now[0], SESSION_S), lambda: now[0], file.keep)
    now[0] += SESSION_S - 1
    held, ended = before.new(), before.new()
    before.end(ended)
    word, ticket = before.word(held), before.ticket(held, "small")
    file.release()
    now[0] += SESSION_S - 1  # reckoned from the newest session, not from the start of the server
    file = SecretFile(folder, Path("/a"), "runs")
    after = Sessions(file.take(now[0], SESSION_S), lambda: now[0], file.keep)
    assert (after.holds(held), after.holds(ended)) == (True, False)
    assert (after.base, after.word(held), after.ticket(held, "small")) == (before.base, word, ticket)
    now[0] += 2
    assert not after.holds(held)
    after.end(after.new())
    (kept,) = folder.glob("*.json")
    assert len(json.loads(kept.read_text())["ended"]) == 1  # those that are over anyway are forgotten
    file.release()


def test_nobody_else_can_read_it_and_what_others_could_read_is_refused(folder: Path) -> None:
    first = taken(folder)
    (kept,) = folder.glob("*.json")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    kept.chmod(0o640)
    with pytest.raises(InputError, match="this user's alone"):
        taken(folder)
    kept.chmod(0o600)
    folder.chmod(0o755)
    with pytest.raises(InputError, match="0700"):
        taken(folder)
    folder.chmod(0o700)
    assert taken(folder) == first


def test_a_link_and_a_pipe_are_not_followed(folder: Path, tmp_path: Path) -> None:
    first = taken(folder)
    (kept,) = folder.glob("*.json")
    elsewhere = kept.rename(tmp_path / "elsewhere.json")
    kept.symlink_to(elsewhere)
    assert taken(folder) != first
    assert not kept.is_symlink()
    kept.unlink()
    os.mkfifo(kept, 0o600)
    with pytest.raises(InputError):
        taken(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"token": "x"}', '{"token": "0123456789", "base": "/../../new"}']
)
def test_what_makes_no_sense_counts_as_nothing(folder: Path, text: str) -> None:
    first = taken(folder)
    (kept,) = folder.glob("*.json")
    kept.write_text(text)
    assert taken(folder).token != first.token


def test_a_second_server_beside_the_first_has_its_own_and_keeps_nothing(folder: Path) -> None:
    file = SecretFile(folder, Path("/a"), "runs")
    first = file.take(1000.0, SESSION_S)
    second = SecretFile(folder, Path("/a"), "runs")
    other = second.take(1000.0, SESSION_S)
    assert (file.is_ours, second.is_ours, other.token == first.token) == (True, False, False)
    Sessions(other, keep=second.keep).new()
    file.release()
    assert taken(folder) == first


def test_where_nothing_can_be_kept_every_start_has_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    assert taken(tmp_path / "state" / "serve") != taken(tmp_path / "state" / "serve")


def test_what_cannot_be_written_down_any_more_is_thrown_away(folder: Path) -> None:
    """Or a session that was ended would hold again."""
    file = SecretFile(folder, Path("/a"), "runs")
    secret = file.take(1000.0, SESSION_S)
    (folder / f"{next(folder.glob('*.json')).stem}.new").mkdir()
    Sessions(secret, lambda: 1000.0, file.keep).new()
    file.release()
    assert not list(folder.glob("*.json"))


def test_a_command_that_is_refused_says_which_file_it_is(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    private_place().mkdir(parents=True, mode=0o755)
    private_place().chmod(0o755)
    assert main(["serve", str(tmp_path)]) == 2
    assert str(private_place()) in capsys.readouterr().err


@contextmanager
def killed_server(root: Path, *options: str) -> Iterator[str]:
    """The address that `serve` prints; it is killed afterwards, which leaves it no word."""
    words = [sys.executable, "-m", "orchestrator", "serve", str(root), "--port", "0", *options]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(root / "state")}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def first_version(client: httpx.Client, page: str) -> str:
    with client.stream("GET", f"{page}events") as answer:
        return next(line for line in answer.iter_lines() if line.startswith("data: "))


@pytest.mark.slow
def test_a_page_goes_on_when_its_server_was_killed_and_started_again(tmp_path: Path) -> None:
    """Same address, same session, same forms; the newest version at once, which is another one."""
    write_files(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(tmp_path, "busy")
    with httpx.Client(timeout=PATIENCE_S) as client:
        with killed_server(tmp_path) as address:
            client.get(address)
            host = "{0.scheme}://{0.netloc}".format(urlsplit(address))
            (cookie,) = client.cookies.jar
            page = f"{host}{cookie.path}/studies/busy/"
            tag = client.get(page).headers.get("etag", "")
            before, seen = client.get(page).text, first_version(client, page)
        with pytest.raises(httpx.HTTPError):
            client.get(page)
        record.append(Noted("said while the server was away"))
        record.sync()
        with killed_server(tmp_path) as again:
            assert again == address
            assert first_version(client, page) != seen
            shown = client.get(page, headers={"If-None-Match": tag})
            assert "said while the server was away" in shown.text
            word = before.split('name="word" value="')[1].split('"')[0]
            left = client.post(f"{host}{cookie.path}/leave", data={"word": word}, headers={"origin": host})
            assert left.status_code == 200
        with killed_server(tmp_path) as again:
            assert client.get(page).status_code == 401
            assert again == address
        with killed_server(tmp_path, "--new-token") as anew:
            assert anew != address
            assert client.get(address).status_code == 401
    record.close()
