"""Servers of the tests' own (moto for S3, an emulator for GCS), and a proxy that breaks the line to them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",  # moto takes any
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_LIMIT_S = 60.0
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A running S3 server."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name: str) -> str:
        """Make an empty bucket; its name."""
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT")) as answer:
            assert answer.status == 200
        return name


@contextmanager
def server(log: Path) -> Iterator[Server]:
    """Moto's server in a process of its own."""
    running = Server(free_port())
    words = ["-c", "from moto.server import main; main()", "-p", str(running.port)]
    with _process(words, f"{running.endpoint}/moto-api/", log):
        yield running


@contextmanager
def gcs_server(folder: Path, bucket: str) -> Iterator[str]:
    """The GCS emulator in a process of its own, with one bucket; its address."""
    host = f"http://127.0.0.1:{free_port()}"
    start = ["start", "--host=127.0.0.1", f"--port={host.rpartition(':')[2]}", "--in-memory"]
    words = ["-m", "gcp_storage_emulator", "-d", str(folder), *start]
    with _process([*words, f"--default-bucket={bucket}"], f"{host}/storage/v1/b/{bucket}", folder / "log"):
        yield host


@contextmanager
def _process(words: list[str], alive: str, log: Path) -> Iterator[None]:
    """A Python process that answers at the address `alive`."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=sink, stderr=sink, env={**os.environ, **CREDENTIALS}
        )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            with suppress(OSError), urlopen(alive):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{words[1]} did not start\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


class Proxy:
    """TCP between a client and the server. `mode` may change at any time, for connections to come.

    pass     everything goes through
    cut      the connection breaks after `limit` bytes of a request
    refuse   every connection is closed at once
    busy     every request is answered 503 SlowDown
    slow     every connection waits `delay_s` first
    """

    def __init__(self, target: int) -> None:
        self.mode, self.limit, self.delay_s = "pass", 200_000, 0.3
        self.hit = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def become(self, mode: str) -> None:
        """Change the mode; connections that are open are closed, so that clients meet it at once."""
        self.mode = mode
        for client in list(self._open):
            _close(client)

    def close(self) -> None:
        self._listener.close()
        self.become("refuse")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self.mode
        self.hit += mode != "pass"
        if mode == "refuse":
            _close(client)
            return
        self._open.add(client)
        try:
            if mode == "busy":
                _answer_busy(client)
                return
            if mode == "slow":
                time.sleep(self.delay_s)
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self._target))) as server:
                back = threading.Thread(target=_pump, args=(server, client, None), daemon=True)
                back.start()
                _pump(client, server, self.limit if mode == "cut" else None)
                back.join(0.0 if mode == "cut" else None)
        finally:
            self._open.discard(client)
            _close(client)


def _pump(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
    passed = 0
    with suppress(OSError):
        while data := source.recv(1 << 16):
            passed += len(data)
            if limit is not None and passed > limit:
                break
            sink.sendall(data)
    if limit is None:
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
    else:
        _close(sink)


def _answer_busy(client: socket.socket) -> None:
    with suppress(OSError):
        client.settimeout(1.0)
        seen = b""
        while b"\r\n\r\n" not in seen:
            data = client.recv(1 << 16)
            if not data:
                return
            seen += data
        head = (
            f"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {len(SLOW_DOWN)}\r\n"
        )
        client.sendall(head.encode() + b"Connection: close\r\n\r\n" + SLOW_DOWN)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
