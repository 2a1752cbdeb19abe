"""A cluster as the laptop sees it: its hosts, who of them is there, and the cluster launcher (`ray up`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterUnavailable
from orchestrator.record.layout import safe_name
from orchestrator.remote.clusterfile import ClusterFile
from orchestrator.remote.nodes import Roll, call_roll
from orchestrator.remote.ssh import Host

LAUNCHER_TIMEOUT_S = 3600.0
_STEP = re.compile(r"\[\d+/\d+\] ")
PLAIN = ("--log-style=pretty", "--log-color=false")
"""For `ray up` and `ray down`; no other verb of Ray knows these options."""


@dataclass(frozen=True)
class Launched:
    """How a run of the cluster launcher ended: exit code, what it printed, and where that is kept."""

    code: int
    lines: list[str]
    log: Path

    @property
    def said(self) -> str:
        """Its last words."""
        return next((line for line in reversed(self.lines) if line), f"exit code {self.code}")


class Cluster:
    """The hosts of a cluster file. Finding the machines of a cloud asks the cloud, once."""

    def __init__(self, file: ClusterFile) -> None:
        self.file = file
        self._head: str | None = file.head

    @property
    def head(self) -> Host:
        """Where studies are driven from.

        Raises:
            ClusterUnavailable: the cloud names no head: the cluster is down, or the cloud does not answer.
        """
        if self._head is None:
            try:
                self._head = self._addresses("get-head-ip")[-1]
            except ClusterUnavailable as error:
                raise ClusterUnavailable(
                    f"{self.file.name} has no head that the cloud names; `orchestrate up` makes one. {error}"
                ) from error
        return self._host(self._head, self.file.head_start.environment)

    @property
    def workers(self) -> list[Host]:
        """The other hosts: those of the file, or those that the cloud runs now.

        Raises:
            ClusterUnavailable: the cloud does not say which.
        """
        addresses = self.file.workers if self.file.is_local else self._addresses("get-worker-ips")
        return [self._host(address, self.file.worker_start.environment) for address in addresses]

    @property
    def hosts(self) -> list[Host]:
        """All of them, the head first."""
        return [self.head, *self.workers]

    @property
    def dashboard(self) -> str:
        """As the head reaches it: it listens on loopback."""
        return f"http://127.0.0.1:{self.file.head_start.dashboard_port}"

    def gcs(self, host: Host) -> list[str]:
        """How processes of this cluster name its GCS on that host, for `onhost`."""
        port = self.file.head_start.port
        return [f"*:{port}"] if host.address == self._head else [f"{self._head}:{port}"]

    def ask_head(self, verb: str, **question: Any) -> Any:
        """Ask `onhead`. Raises `ClusterUnavailable` when the head or its Ray does not answer."""
        return self.head.ask("onhead", verb, {"dashboard": self.dashboard, **question})

    def roll(self) -> Roll:
        """Count the live nodes. Raises `Unreachable` when the head does not let us in."""
        return call_roll(self.file, self.ask_head("nodes", hosts=list(self.file.hosts)))

    def _host(self, address: str, environment: str) -> Host:
        auth = self.file.auth
        if auth.private_key is None and not self.file.is_local:
            auth = replace(auth, private_key=launcher_key(self.file.region, Path.home() / ".ssh"))
        return Host(address, auth, environment, keeps_key=self.file.is_local)

    def _addresses(self, verb: str) -> list[str]:
        done = ray_command([verb, str(self.file.path.resolve())], self.file)
        if done.code != 0:
            raise ClusterUnavailable(f"`ray {verb}` failed: {done.said}; all that it said is in {done.log}")
        return [line for line in done.lines if line and " " not in line]


def launcher_key(region: str, folder: Path) -> Path | None:
    """Return the newest key that `ray up` has made in a region, for files that name none."""
    found = [path for path in folder.glob("ray-autoscaler_*.pem") if region in path.name]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def ray_command(
    words: Sequence[str], file: ClusterFile, say: Callable[[str], None] | None = None
) -> Launched:
    """Run Ray's cluster launcher, which prints pages: they go to a log file, its steps to `say`.

    Machines one owns need the first version of Ray's autoscaler: the second starts one worker too few and
    never takes a crashed host in again.

    Raises:
        ClusterUnavailable: there is no `ray` here. One that takes more than an hour is ended.
    """
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    if file.is_local:
        environment["RAY_UP_enable_autoscaler_v2"] = "0"
    beside = Path(sys.executable).with_name("ray")
    program = str(beside) if beside.exists() else "ray"
    log = Path.home() / ".orchestrate" / "launcher" / f"{safe_name(file.name)}-{words[0]}.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(
            [program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            cwd=file.root,
        )
    except FileNotFoundError:
        raise ClusterUnavailable("there is no `ray` on this machine: make install") from None
    late = threading.Timer(LAUNCHER_TIMEOUT_S, process.kill)
    late.start()
    lines: list[str] = []
    with process, log.open("w", encoding="utf-8") as sink:
        try:
            for line in process.stdout or ():
                sink.write(line)
                lines.append(line.strip())
                if say is not None and _STEP.match(lines[-1]):
                    say(lines[-1])
            return Launched(process.wait(), lines, log)
        finally:
            late.cancel()
            process.kill()
