"""What keeps a study from its Ray is found before anything is started, and told with the way out."""

from __future__ import annotations

import importlib.util
import os
import resource
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import gateway
from orchestrator.errors import ClusterUnavailable

GOOD, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (gateway.MODE, gateway.TOKEN, gateway.TOKEN_PATH, "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()


def named() -> dict[str, gateway.Obstacle]:
    return {one.name: one for one in gateway.obstacles() if one.fatal}


def test_nothing_is_in_the_way_of_a_plain_machine() -> None:
    assert named() == {}
    gateway.refuse_obstacles()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_directory_whose_sockets_would_be_too_long(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    room = gateway.LONGEST_SOCKET - len(
        "/ray/session_2026-11-29_22-40-00_123456_4194304/sockets/plasma_store.1"
    )
    monkeypatch.setenv(variable, "/tmp".ljust(room, "x"))
    assert "temporary" not in named()
    monkeypatch.setenv(variable, "/tmp".ljust(room + 1, "é"))
    found = named()["temporary"]
    assert variable in found.what
    assert "RAY_TMPDIR" in found.way_out
    with pytest.raises(ClusterUnavailable, match=r"Ray cannot start on this machine: .*; set RAY_TMPDIR"):
        gateway.refuse_obstacles()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert named() == {}, "the way out is one"


def test_a_temporary_directory_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short = Path("/tmp") / f"f{os.getpid()}"
    short.write_text("")
    try:
        monkeypatch.setenv("TMPDIR", str(short))
        assert "is no directory" in named()["temporary"].what
    finally:
        short.unlink()


@pytest.mark.parametrize("home", ["/dev/null", "/proc", "/proc/1/none"])
def test_a_home_that_cannot_hold_the_token(
    monkeypatch: pytest.MonkeyPatch, home: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(gateway.os, "access", lambda path, _: not str(path).startswith("/proc"))  # not root
    monkeypatch.setenv("HOME", home)
    found = named()["ray token"]
    assert home in found.what
    assert gateway.TOKEN_PATH in found.way_out
    (tmp_path / "token").write_text(GOOD)
    monkeypatch.setenv(gateway.TOKEN_PATH, str(tmp_path / "token"))
    assert named() == {}, "the way out is one"
    monkeypatch.setenv(gateway.TOKEN_PATH, str(tmp_path / "missing"))
    assert "holds no token" in named()["ray token"].what
    monkeypatch.setenv(gateway.MODE, "disabled")
    assert named() == {}


def test_too_little_memory_no_port_and_narrow_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_free_memory", lambda: 100 * gateway.MIB)
    monkeypatch.setattr(gateway.socket, "create_server", _refuse)
    monkeypatch.setattr(gateway.resource, "getrlimit", lambda _: (10, 10))
    found = {one.name: one for one in gateway.obstacles()}
    assert "100 MiB" in found["memory"].what
    assert "Too many open files" in found["ports"].what
    assert (found["limits"].fatal, found["limits"].way_out) == (False, "ulimit -u unlimited")
    assert resource.RLIMIT_AS != resource.RLIMIT_NPROC


def _refuse(*_: object) -> None:
    raise OSError(24, "Too many open files")


# ---- clusters ----------------------------------------------------------------------------------------------


def head(folder: Path, **variables: str) -> Iterator[str]:
    """Ray's own head process, alone; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "core/src/ray/gcs/gcs_server"
    words = [f"--gcs_server_port={port}", "--node_ip_address=127.0.0.1", f"--log_dir={folder}"]
    words += [f"--config_list={b64encode(b'{}').decode()}", "--session_name=x"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with (folder / "said").open("w") as said:
        process = subprocess.Popen([program, *words], env=environment | variables, stdout=said, stderr=said)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from head(tmp_path_factory.mktemp("guarded"), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=GOOD)


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from head(tmp_path_factory.mktemp("open"))


def refused(address: str) -> str:
    began = time.monotonic()
    with pytest.raises(ClusterUnavailable) as caught:
        gateway.refuse_strangers(address)
    assert time.monotonic() - began < 5
    return str(caught.value)


@pytest.mark.slow
def test_a_cluster_that_asks_for_a_token(
    guarded: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "asks for a token, and RAY_AUTH_MODE is not set" in refused(guarded)
    monkeypatch.setenv(gateway.MODE, "token")
    assert "there is none here" in refused(guarded)
    for wrong in (OTHER, "é\n", "two\nlines"):
        monkeypatch.setenv(gateway.TOKEN, wrong)
        assert "refuses our token (of RAY_AUTH_TOKEN)" in refused(guarded)
    monkeypatch.delenv(gateway.TOKEN)
    file = tmp_path / "token"
    file.write_text(OTHER)
    monkeypatch.setenv(gateway.TOKEN_PATH, str(file))
    assert f"refuses our token (of {file})" in refused(guarded)
    assert "ray get-auth-token" in refused(guarded)
    file.write_text(f"{GOOD}\n")
    gateway.refuse_strangers(guarded)


@pytest.mark.slow
def test_a_token_at_a_cluster_that_takes_none(open_to_all: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.refuse_strangers(open_to_all)
    monkeypatch.setenv(gateway.MODE, "token")
    monkeypatch.setenv(gateway.TOKEN, GOOD)
    assert "works without a token" in refused(open_to_all)
    assert "unset RAY_AUTH_MODE" in refused(open_to_all)


@pytest.mark.slow
def test_what_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert "does not answer as one" in refused(address)
    assert "no Ray cluster answers at 127.0.0.1:1: Connection refused" in refused("127.0.0.1:1")
    assert "no Ray cluster answers at 127.0.0.1:99999" in refused("127.0.0.1:99999")
    gateway.refuse_strangers("ray://head:10001")  # Ray's own affair
