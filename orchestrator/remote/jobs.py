"""A study as a job of the cluster: sent, started, followed, found again. It needs no laptop to go on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterUnavailable, ExitCode, StudyHeld
from orchestrator.record.layout import safe_name
from orchestrator.remote.cluster import Cluster
from orchestrator.remote.sharedstorage import require_shared
from orchestrator.remote.shipping import Parcel
from orchestrator.remote.ssh import Host, Unreachable, answers
from orchestrator.study.yamlfile import parse_yaml

LINES_ON_RETURN = 20
SHIP_TIMEOUT_S = 900.0
"""64 MiB at most, from a laptop's network."""
RECONNECT_FOR_S = 600.0
RECONNECT_EVERY_S = 3.0
Show = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What the laptop's `ablate` asks for: `words` follow `ablate` on the head, `flags` are those among them
    that say how to run (`--fresh`), not what.
    """

    study: str
    storage: str
    parcel: Parcel
    config: str
    cluster: str
    overrides: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    as_json: bool = False

    @property
    def words(self) -> list[str]:
        """The command on the head."""
        shape = ["--json"] if self.as_json else []
        return ["ablate", "--config", self.config, *self.overrides, *self.flags, *shape]

    @property
    def settings(self) -> str:
        """Names code, study and overrides: two orders with the same one are the same study."""
        said = json.dumps([self.parcel.identity, self.config, list(self.overrides)])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def entry(self) -> dict[str, str]:
        """Return what the head keeps of it, as plain words."""
        return {
            "study": self.study,
            "file": safe_name(self.study),
            "storage": self.storage,
            "root": f"{self.storage.rstrip('/')}/{safe_name(self.study)}",
            "directory": self.parcel.directory,
            "folder": self.parcel.folder,
            "settings": self.settings,
            "flags": " ".join(self.flags),
            "cluster": self.cluster,
        }


def study_files(path: Path) -> list[Path]:
    """Return the study file and those that it extends. They have been read before, so they are sound."""
    files = [path]
    while True:
        parent = parse_yaml(files[-1].read_text(encoding="utf-8-sig"), str(files[-1])).data.get("extends")
        if parent is None:
            return files
        files.append(files[-1].parent / parent)


def config_from_here(path: Path, cwd: Path) -> str:
    """Return the study file as it is named from the current directory: the same words hold on the head."""
    return os.path.relpath(path, cwd) if path.is_absolute() else str(path)


def place(running: Sequence[dict[str, Any]], order: Order) -> dict[str, Any] | None:
    """Return the job that is this order's already, among those of the cluster; None when it has to be
    started.

    Raises:
        StudyHeld: the study runs with other code or settings, or was asked for with other flags.
    """
    job = next((job for job in running if job["open"] and job["study"] == order.study), None)
    if job is None:
        return None
    instead = f"see it with `orchestrate watch {order.study} --cluster`, wait for it, or stop it first"
    if job["settings"] != order.settings:
        said = f"is running on the cluster with other code or settings (job {job['submission']})"
        raise StudyHeld(f"{order.study} {said}; {instead}")
    extra = " ".join(sorted(set(order.flags) - set(job["flags"].split())))
    if extra:
        raise StudyHeld(f"{order.study} is running on the cluster without {extra}; {instead}")
    return job


def start(cluster: Cluster, order: Order, live: Sequence[Host]) -> tuple[str, bool]:
    """Start the study, or find the job that runs it. Returns its name, and whether it is a new one.

    Args:
        live: the hosts that have to see the study's storage, the head first; empty: none is asked.

    Raises:
        StudyHeld: it runs with other settings.
        StorageUnavailable: the storage is not shared by all live hosts.
        ClusterUnavailable: the head does not answer.
    """
    job = place(cluster.ask_head("jobs"), order)
    if job is not None:
        return job["submission"], False
    if live:
        require_shared(live, order.storage)
    ship(cluster, order.parcel)
    submission = f"orchestrate-{re.sub(r'[^A-Za-z0-9_.-]', '_', order.study)}-{uuid.uuid4().hex[:8]}"
    words = [*order.words, "--address", "auto"]
    cluster.ask_head("submit", entry=order.entry(), submission=submission, words=words)
    return submission, True


def ship(cluster: Cluster, parcel: Parcel) -> str:
    """Put code and study file on the head; returns their directory there. What is there already stays."""
    question = {"directory": parcel.directory, "digest": parcel.digest, "folder": parcel.folder}
    answer = cluster.head.ask("onhost", "unpack", question, payload=parcel.archive, timeout_s=SHIP_TIMEOUT_S)
    return str(answer["directory"])


Ended = tuple[ExitCode, str | None]
"""How a followed job ended: its exit code, and what there is to say about it."""


@dataclass
class Follower:
    """Shows what a job writes, over lost connections, until it has ended."""

    cluster: Cluster
    submission: str
    show: Show
    note: Show
    offset: int = 0
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep

    def run(self) -> Ended:
        """Follow to the end.

        Raises:
            ClusterUnavailable: the head says that there is no such job any more, or it was away for too long.
            KeyboardInterrupt: the user wants to leave; the job goes on.
        """
        lost_since: float | None = None
        while True:
            try:
                for answer in self._answers():
                    lost_since = None
                    if "ended" in answer:
                        return judge(answer["ended"])
                    self.offset = answer["offset"]
                    self.show(answer["text"])
                said = "the connection was closed"
            except Unreachable as error:
                said = error.said
            if lost_since is None:
                lost_since = self.clock()
                self.note(f"lost {self.cluster.head.address} ({said}); the study goes on; connecting again")
            if self.clock() - lost_since > RECONNECT_FOR_S:
                away = f"was away for {RECONNECT_FOR_S:.0f} s: {said}"
                raise ClusterUnavailable(f"{self.cluster.head.address} {away}")
            self.wait(RECONNECT_EVERY_S)

    def _answers(self) -> Iterator[dict[str, Any]]:
        host, asked = self.cluster.head, {"submission": self.submission, "offset": self.offset}
        question = {"dashboard": self.cluster.dashboard, **asked}
        with host.stream("onhead", "follow", question) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                yield from answers(host.address, process.stdout)
                said = process.stderr.read().decode(errors="replace").strip()
                raise Unreachable(host.address, said.rpartition("\n")[2] or "the connection was closed")
            finally:
                process.kill()


def judge(job: dict[str, Any]) -> Ended:
    """Return the exit code of a job that has ended: its command's own, where it lived to give one."""
    code, status = job["code"], job["status"]
    if status == "SUCCEEDED":
        return ExitCode.DONE, None
    if code and code in set(ExitCode):
        return ExitCode(code), None
    further = "the same command goes on from what is recorded"
    if status == "STOPPED":
        return ExitCode.TERMINATED, f"the job was stopped; {further}"
    how = f"exit code {code}" if code is not None else str(job["message"]).split("\n", 1)[0]
    return ExitCode.UNAVAILABLE, f"the study's driver was lost ({how}); {further}"
