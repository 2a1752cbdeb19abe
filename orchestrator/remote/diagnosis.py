"""What is wrong with a cluster: pure rules over what its hosts say of themselves (`onhost facts`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warn", "fail"]
CLOCK_WARN_S, CLOCK_FAIL_S = 2.0, 15.0
"""A driver counts as dead when its heartbeat is 30 s old: half of that may be skew."""
GIB = 2**30
ROOM_GIB = {"temporary": 2.0, "shared memory": 1.0, "home": 1.0, "storage": 5.0}
ROOM_HINT = {
    "temporary": "Ray keeps its session files there",
    "shared memory": "Ray's object store falls back to slow files",
    "home": "code and outputs of studies are kept there",
    "storage": "checkpoints need room; see checkpoint: in the study",
}
SAME_EVERYWHERE = ("ray", "torch", "numpy")
"""Packages whose versions have to agree: what one node pickles another one reads, and ranks sum up
together.
"""


@dataclass(frozen=True)
class HostFinding:
    """One check on one host. `fail`: a study cannot run, or not be trusted; `warn`: it may suffer."""

    host: str
    check: str
    state: State
    detail: str
    hint: str | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.state:<5} {self.host:<16} {self.check:<18} {self.detail}{hint}"


@dataclass(frozen=True)
class Inspection:
    """What was found out: facts of the hosts that answered (head first), and what kept the others from it.

    `clock_off_s`: a host's clock minus the laptop's. `storage`: None where it was not looked at. `ray_gpus`:
    by host, None where Ray does not run. `laptop`: the laptop's own versions, code and token fingerprint.
    """

    head: str
    facts: Mapping[str, Mapping[str, Any]]
    unreachable: Mapping[str, str]
    clock_off_s: Mapping[str, float]
    storage: Mapping[str, str | None] | None
    ray_gpus: Mapping[str, float | None]
    laptop: Mapping[str, Any]
    needed: Sequence[str] = field(default=())
    """Distributions that every node must have."""


def diagnose(found: Inspection) -> list[HostFinding]:
    """Every check on every host, the head first. The head is what the others are compared with."""
    findings: list[HostFinding] = []
    for host, said in found.unreachable.items():
        hint = "is it on, and do ssh_user and ssh_private_key of the cluster file open it?"
        findings.append(HostFinding(host, "ssh", "fail", said, hint))
    for host in found.facts:
        findings += _of_host(found, host)
    return findings


def _of_host(found: Inspection, host: str) -> Iterator[HostFinding]:
    facts = found.facts[host]
    yield HostFinding(host, "ssh", "ok", f"answers as {facts['host']}")
    yield from _versions(found, host)
    yield _code(found, host)
    yield _clock(found, host)
    yield from _token(found, host)
    if found.storage is not None and host in found.storage:
        problem = found.storage[host]
        yield HostFinding(host, "storage", "fail" if problem else "ok", problem or "shared, can be written")
    yield _gpus(facts, found.ray_gpus.get(host), host)
    yield from _room(facts, host)


def _versions(found: Inspection, host: str) -> Iterator[HostFinding]:
    facts, head = found.facts[host], found.facts.get(found.head)
    python = facts["python"]
    if head is not None and python != head["python"]:
        hint = f"{found.head} has {head['python']}: Ray needs the same version everywhere"
        yield HostFinding(host, "python", "fail", python, hint)
    else:
        yield HostFinding(host, "python", "ok", f"{python} ({facts['executable']})")
    for name in found.needed:
        version = facts["packages"].get(name)
        if version is None:
            hint = f"add it to setup_commands; looked in {facts['executable']}"
            yield HostFinding(host, name, "fail", "missing package", hint)
        elif name in SAME_EVERYWHERE:
            yield _version(found, host, name, version)


def _version(found: Inspection, host: str, name: str, version: str) -> HostFinding:
    head = found.facts.get(found.head)
    expected = head["packages"].get(name) if head is not None else None
    if expected and _release(version) != _release(expected):
        hint = f"{found.head} has {expected}: install the same on every node"
        return HostFinding(host, name, "fail", version, hint)
    if expected and version != expected:
        return HostFinding(host, name, "warn", version, f"another build than {expected} on {found.head}")
    mine = found.laptop["packages"].get(name)
    if name == "ray" and mine and host == found.head and _release(mine) != _release(version):
        return HostFinding(host, name, "warn", version, f"the laptop's `ray up` is {mine}")
    return HostFinding(host, name, "ok", version)


def _release(version: str) -> str:
    return version.partition("+")[0]


def _code(found: Inspection, host: str) -> HostFinding:
    mine, head = found.facts[host]["code"], found.facts.get(found.head)
    if mine is None:
        hint = "install this project on every node: setup_commands"
        return HostFinding(host, "orchestrator", "fail", "missing package", hint)
    if head is not None and head["code"] not in (None, mine):
        hint = f"not the code of {found.head}: install the same on every node"
        return HostFinding(host, "orchestrator", "fail", f"code {mine[:12]}", hint)
    if found.laptop["code"] not in (None, mine):
        return HostFinding(host, "orchestrator", "warn", f"code {mine[:12]}", "not the code of the laptop")
    return HostFinding(host, "orchestrator", "ok", f"code {mine[:12]}")


def _clock(found: Inspection, host: str) -> HostFinding:
    """Against the head's, which judges heartbeats; the laptop's clock only carries the comparison."""
    off = found.clock_off_s[host]
    reference = found.clock_off_s.get(found.head, 0.0)
    skew = off - reference
    if host == found.head:
        skew, of = off, "the laptop"
        state: State = "warn" if abs(skew) > CLOCK_WARN_S else "ok"
    else:
        of = found.head
        state = "fail" if abs(skew) > CLOCK_FAIL_S else "warn" if abs(skew) > CLOCK_WARN_S else "ok"
    hint = "set the clock: timedatectl set-ntp true" if state != "ok" else None
    return HostFinding(host, "clock", state, f"{skew:+.1f} s against {of}", hint)


def _token(found: Inspection, host: str) -> Iterator[HostFinding]:
    facts = found.facts[host]
    token, path = facts["token"], facts["token"]["path"]
    if "error" in token:
        hint = "file_mounts of the cluster file brings it there; `orchestrate up` makes it"
        yield HostFinding(host, "token", "fail", f"missing: {path}: {token['error']}", hint)
    elif found.laptop["token"] is not None and token["fingerprint"] != found.laptop["token"]:
        hint = "orchestrate up --restart brings the laptop's there"
        yield HostFinding(host, "token", "fail", f"{path} is not the laptop's token", hint)
    elif token["mode"] & 0o077:
        hint = f"chmod 600 {path}"
        yield HostFinding(host, "token", "fail", f"others may read {path} (mode {token['mode']:o})", hint)
    elif facts["auth_mode"] != "token":
        hint = "export RAY_AUTH_MODE=token in front of `ray start` in the cluster file"
        yield HostFinding(host, "token", "fail", "Ray is started without token authentication", hint)
    else:
        yield HostFinding(host, "token", "ok", f"{path}, mode {token['mode']:o}")


def _gpus(facts: Mapping[str, Any], ray: float | None, host: str) -> HostFinding:
    seen = facts["gpus"]
    if seen is None:
        detail = "no NVIDIA driver" + ("" if ray is None else f"; Ray offers {ray:g}")
        return HostFinding(host, "gpus", "fail" if ray else "ok", detail)
    if "error" in seen:
        return HostFinding(host, "gpus", "fail", f"nvidia-smi fails: {seen['error']}", "mend the driver")
    if ray is None:
        return HostFinding(host, "gpus", "ok", f"{seen['count']} seen by the driver; Ray does not run here")
    if int(ray) != seen["count"]:
        hint = "--num-gpus in the start commands, CUDA_VISIBLE_DEVICES; then orchestrate up --restart"
        return HostFinding(
            host, "gpus", "fail", f"{seen['count']} seen by the driver, Ray offers {ray:g}", hint
        )
    return HostFinding(host, "gpus", "ok", f"{seen['count']}, all offered by Ray")


def _room(facts: Mapping[str, Any], host: str) -> Iterator[HostFinding]:
    for name, free in facts["free"].items():
        if free is None:
            yield HostFinding(host, f"disk {name}", "warn", "there is no such place", ROOM_HINT[name])
            continue
        enough = free / GIB >= ROOM_GIB[name]
        hint = None if enough else ROOM_HINT[name]
        yield HostFinding(
            host, f"disk {name}", "ok" if enough else "warn", f"{free / GIB:.1f} GiB free", hint
        )
