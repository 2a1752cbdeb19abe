"""The ground under a study: processes to kill, a Ray cluster, and a namespace that keeps both in.

Everything runs in a PID and mount namespace of its own, so that processes may be found by their names, a
disk may be mounted, and nothing is left when the first process is gone.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NODES, CPUS_PER_NODE = 2, 1
STARTS_WITHIN_S = 90.0
_INSIDE = "CHAOS_INSIDE"
_RAY = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
_STATE = """\
import json, sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
groups = ray.util.placement_group_table().values()
print(json.dumps([ray.cluster_resources(), ray.available_resources(), *groups], indent=1, default=str))
"""
# A node that is lost is to be noticed soon.
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}


def inside_a_namespace(command: list[str]) -> int:
    """Run the command in namespaces of its own; its exit status. Needs unshare, and root or user
    namespaces.
    """
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "--propagation", "private"]
    return subprocess.run(
        ["unshare", *as_root, *own, sys.executable, __file__, *command],
        env={**os.environ, _INSIDE: "1"},
        check=False,
    ).returncode


def is_inside() -> bool:
    """Whether this process runs in such namespaces."""
    return os.environ.get(_INSIDE) == "1"


def first_process(command: list[str]) -> int:
    """What process 1 of the namespace does: run the command, and reap what others leave."""
    child = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status)


# ---- processes --------------------------------------------------------------------------------------------


def processes() -> dict[int, tuple[int, str]]:
    """Process -> parent and command line, of all that live here; those that nobody has reaped yet are
    dead.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state not in "ZX":
                    found[int(entry.name)] = (int(parent), words.strip())
    return found


def family(root: int) -> list[int]:
    """A process and all its descendants."""
    parents = {pid: parent for pid, (parent, _) in processes().items()}
    found = [root] if root in parents else []
    for pid in found:  # grows on the way
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def named(prefix: str, among: list[int]) -> list[int]:
    """Processes whose command line begins so (Ray names workers by their actors), oldest first."""
    known = processes()
    return sorted(pid for pid in among if pid in known and known[pid][1].startswith(prefix))


def is_alive(pid: int) -> bool:
    return pid in processes()


def kill(*pids: int) -> None:
    """SIGKILL to all of them at once: none sees another one's end before its own."""
    for pid in pids:
        tell(pid, signal.SIGKILL)


def tell(pid: int, number: signal.Signals) -> None:
    """A signal, to a process that may have gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def keep_apart(folder: str) -> None:
    """What this process starts finds a Ray of its own: files in `folder`, one token, no other address."""
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(RAY_TMPDIR=folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


# ---- Ray --------------------------------------------------------------------------------------------------


class Nodes:
    """A Ray cluster: a head without CPUs for trials, and two nodes; each a tree of processes that may be
    killed.
    """

    def __init__(self, logs: Path) -> None:
        self._logs, self._started = logs, 0
        self._ports = _free_ports()
        self.head: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def up(self) -> None:
        """Start head and nodes."""
        port = next(self._ports)
        self.address = f"127.0.0.1:{port}"
        self.head = self._start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        self._wait_for(self.head)
        self.workers = []
        for _ in range(NODES):  # one after the other: two that start at once sometimes keep each other out
            self.add()
            self._wait_for(self.workers[-1])

    def add(self) -> None:
        """Start another node; it joins by itself."""
        self.workers.append(self._start(f"--address={self.address}", f"--num-cpus={CPUS_PER_NODE}"))

    def mend(self) -> None:
        """Nodes that ended by themselves, or could not start, are started again."""
        for node in [node for node in self.workers if node.poll() is not None]:
            self.lose(node)
            self.add()

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """All processes of a node die at once."""
        kill(*family(node.pid))
        node.wait()
        if node in self.workers:
            self.workers.remove(node)

    def down(self) -> None:
        """All processes of the whole cluster die at once."""
        if self.head is None:
            return
        nodes = [self.head, *self.workers]
        kill(*(pid for node in nodes for pid in family(node.pid)))
        for node in nodes:
            node.wait()
        self.head, self.workers = None, []

    def of(self, pid: int) -> subprocess.Popen[bytes] | None:
        """The node that a process runs on."""
        return next((node for node in self.workers if pid in family(node.pid)), None)

    def state(self) -> str:
        """What Ray says of its resources and placement groups; for a finding."""
        asked = subprocess.run(
            [sys.executable, "-c", _STATE, self.address],
            capture_output=True,
            text=True,
            check=False,
            timeout=STARTS_WITHIN_S,
        )
        return asked.stdout or asked.stderr

    def _wait_for(self, node: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTS_WITHIN_S
        log = self._logs / f"node-{self._started}.log"
        while b"Ray runtime started" not in log.read_bytes():
            if time.monotonic() > deadline or node.poll() is not None:
                raise AssertionError(f"a node did not start:\n{log.read_text()}")
            time.sleep(0.1)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        self._started += 1
        agent = [f"--dashboard-agent-listen-port={next(self._ports)}", "--node-manager-port=0"]
        ports = ["--min-worker-port=0", "--max-worker-port=0"]
        memory = ["--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        with (self._logs / f"node-{self._started}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", _RAY, "start", *words, *agent, *ports, *memory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **QUICK},
                start_new_session=True,
            )


def _free_ports() -> Iterator[int]:
    """Ports that nobody listens on, none twice."""
    given = set[int]()
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if port not in given:
            given.add(port)
            yield port


if __name__ == "__main__":
    sys.exit(first_process(sys.argv[1:]))
