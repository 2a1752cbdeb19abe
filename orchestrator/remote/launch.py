"""Bring a cluster up until every node of its file lives; take it down until no process of it is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ClusterUnavailable, StudyHeld
from orchestrator.remote.cluster import PLAIN, Cluster, ray_command
from orchestrator.remote.nodes import Roll
from orchestrator.remote.ssh import Host, Unreachable, on_all, why
from orchestrator.remote.token import make_token

POLL_S = 2.0
DEFAULT_WAIT_S = 900.0
"""The set-up of a bare machine installs PyTorch."""
GRACE_S = 10.0
AUTOSCALER = "autoscaler/_private/monitor.py"
LAST_LINES = 15
SLOW_S = 60.0
"""How long a Ray that runs on the head may take to answer."""
Say = Callable[[str], None]


def up(
    cluster: Cluster, say: Say, *, wait_s: float = DEFAULT_WAIT_S, restart: bool = False
) -> tuple[Roll, dict[str, str]]:
    """Start what does not run, then wait until all nodes live or `wait_s` have passed.

    Returns the roll, and for each missing host why.

    A cluster that is up is left as it is: `ray up` would restart Ray under running studies. Its autoscaler
    starts missing hosts by itself. `restart` does it anyway, for a file that has changed.

    Raises:
        InputError: the token cannot be used.
        Unreachable: the head does not let us in.
        StudyHeld: `restart` was asked for while a study runs.
        ClusterUnavailable: the head did not come up.
    """
    file = cluster.file
    if make_token(file.token):
        say(f"made the cluster's token: {file.token}")
    if restart:
        refuse_while_studies_run(cluster)
    if restart or not _answers(cluster):
        say(f"starting {file.name}: ray up {file.path}")
        done = ray_command(["up", "-y", str(file.path.resolve()), *PLAIN], file, say)
        if done.code != 0:
            for line in done.lines[-LAST_LINES:]:
                say(f"  {line}")
            raise ClusterUnavailable(
                f"`ray up {file.path}` failed with exit code {done.code}; all that it said is in {done.log}. "
                f"`orchestrate doctor --cluster {file.path}` looks at every host."
            )
    roll = _wait(cluster, say, wait_s)
    return roll, {} if roll.complete else why_missing(cluster, roll)


def _answers(cluster: Cluster) -> bool:
    """Whether Ray is up on the head. One that runs and does not answer is waited for, not restarted.

    Raises:
        Unreachable: the head does not let us in; `ray up` would try for a quarter of an hour.
        ClusterUnavailable: Ray runs there and does not answer.
    """
    roll = current_roll(cluster)
    if not roll.up and not _runs_on_head(cluster):
        return False
    end = time.monotonic() + SLOW_S
    while not roll.up and time.monotonic() < end:
        time.sleep(POLL_S)
        roll = current_roll(cluster)
    if roll.up:
        return True
    raise ClusterUnavailable(
        f"Ray runs on {cluster.head.address}, but does not answer ({roll.said}). "
        f"`orchestrate doctor --cluster {cluster.file.path}` looks at it; "
        f"`orchestrate down --force {cluster.file.path}` ends it, with its studies."
    )


def _runs_on_head(cluster: Cluster) -> bool:
    """Whether a GCS of this cluster runs on the head, answering or not.

    Raises `Unreachable` when the head does not let us in.
    """
    try:
        head = cluster.head
    except ClusterUnavailable:
        return False  # a cloud has not made it yet
    return "gcs_server" in _processes(cluster, head)


def _processes(cluster: Cluster, host: Host) -> set[str]:
    """Names of the cluster's processes on a host."""
    found = host.ask("onhost", "processes", {"gcs": cluster.gcs(host), "orphans": False})
    return {process["name"] for process in found}


def current_roll(cluster: Cluster) -> Roll:
    """Return the live nodes now; a head that does not answer counts as down."""
    try:
        return cluster.roll()
    except ClusterUnavailable as error:
        return Roll(False, why(error), (), cluster.file.wanted, cluster.file.hosts)


def _wait(cluster: Cluster, say: Say, wait_s: float) -> Roll:
    end, last = time.monotonic() + wait_s, ""
    while True:
        roll = current_roll(cluster)
        if roll.words != last:
            say(roll.words)
            last = roll.words
        if roll.complete or time.monotonic() >= end:
            return roll
        time.sleep(POLL_S)


def why_missing(cluster: Cluster, roll: Roll) -> dict[str, str]:
    """Return what each missing host says when it is asked over SSH."""
    missing = [host for host in cluster.hosts if host.address in roll.missing]
    found = on_all(missing, lambda host: _says(cluster, host))
    return {address: str(said) for address, said in found.items()}


def _says(cluster: Cluster, host: Host) -> str:
    try:
        if "raylet" in _processes(cluster, host):
            return "Ray runs there, but the head does not count it: look at its clock, firewall and token"
    except Unreachable as error:
        return f"not reachable by SSH: {error.said}"
    said = cluster.ask_head("launcher", host=host.address)["said"]
    return f"reachable by SSH, but Ray does not run there{f'; the launcher says: {said}' if said else ''}"


def refuse_while_studies_run(cluster: Cluster, otherwise: str = "") -> None:
    """Raise `StudyHeld` when a study would lose its cluster; `otherwise` is what one may do besides.

    Raises `ClusterUnavailable` when nobody can tell whether one would.
    """
    try:
        is_down = not current_roll(cluster).up and not _runs_on_head(cluster)
        names = [] if is_down else [job["study"] for job in cluster.ask_head("jobs") if job["open"]]
    except ClusterUnavailable as error:
        raise ClusterUnavailable(f"nobody can tell whether a study runs: {error}{otherwise}") from error
    if names:
        first = f"orchestrate stop {names[0]} --cluster {cluster.file.path}"
        raise StudyHeld(
            f"{cluster.file.name} runs {', '.join(names)}: `{first}` lets it leave cleanly{otherwise}"
        )


@dataclass(frozen=True)
class Downed:
    """What is left: processes by host, and hosts that could not be asked."""

    left: dict[str, list[str]]
    unreachable: dict[str, str]

    @property
    def clean(self) -> bool:
        """No process of the cluster is left on any host."""
        return not self.left and not self.unreachable


def down(cluster: Cluster, say: Say, *, force: bool = False) -> Downed:
    """Stop Ray on every host, and see that nothing of this cluster is left.

    `ray down` stops only the head of machines one owns; the workers would keep their GPUs. Other clusters on
    the same machines are left alone.

    Raises:
        StudyHeld: a study runs there, and `force` was not given.
        ClusterUnavailable: nobody can tell whether one does; or a cloud may still run machines.
    """
    file = cluster.file
    if not force:
        refuse_while_studies_run(cluster, "; `orchestrate down --force` does not ask")
    hosts = cluster.hosts if file.is_local else []
    say(f"stopping {file.name}: ray down {file.path}")
    done = ray_command(["down", "-y", str(file.path.resolve()), *PLAIN], file)
    if not file.is_local:
        if done.code != 0:
            raise ClusterUnavailable(
                f"`ray down {file.path}` failed, machines may still run and cost: {done.said}; "
                f"all that it said is in {done.log}"
            )
        left = Cluster(file).workers
        return Downed({host.address: ["the cloud still runs this machine"] for host in left}, {})
    if done.code != 0:
        say(f"`ray down` failed with exit code {done.code} ({done.log}); stopping host by host")
    return _stop_everywhere(cluster, hosts)


def _stop_everywhere(cluster: Cluster, hosts: list[Host]) -> Downed:
    """End the autoscaler first: it would start the workers again. The rest of the head last: a worker's
    raylet takes long to end when it cannot say so to the head.
    """

    def stop(host: Host, only: str = "", grace_s: float = GRACE_S) -> dict[str, Any]:
        question = {"gcs": cluster.gcs(host), "grace_s": grace_s, "only": only, "orphans": not only}
        return dict(host.ask("onhost", "stop", question))

    on_all(hosts[:1], lambda head: stop(head, only=AUTOSCALER, grace_s=1.0))
    workers = on_all(hosts[1:], stop)
    said = on_all(hosts[:1], stop) | workers
    left, unreachable = {}, {}
    for address, answer in said.items():
        if isinstance(answer, ClusterUnavailable):
            unreachable[address] = why(answer)
        elif answer["left"]:
            left[address] = [f"{entry['pid']} {entry['command']}" for entry in answer["left"]]
    return Downed(left, unreachable)
