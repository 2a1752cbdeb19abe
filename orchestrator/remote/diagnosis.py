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


Result = tuple[State, str, str | None]
"""State, detail and hint of one check."""


def diagnose(found: Inspection) -> list[HostFinding]:
    """Every check on every host, the head first. The head is what the others are compared with."""
    hint = "is it on, and do ssh_user and ssh_private_key of the cluster file open it?"
    findings = [HostFinding(host, "ssh", "fail", said, hint) for host, said in found.unreachable.items()]
    for host in found.facts:
        findings += [HostFinding(host, check, *result) for check, result in _of_host(found, host)]
    return findings


def _of_host(found: Inspection, host: str) -> Iterator[tuple[str, Result]]:
    facts = found.facts[host]
    head = found.facts.get(found.head, facts)  # one that does not answer is no reason to complain of others
    yield "ssh", ("ok", f"answers as {facts['host']}", None)
    yield "python", _python(found, facts, head)
    for name in found.needed:
        version = facts["packages"].get(name)
        if version is None:
            hint = f"add it to setup_commands; looked in {facts['executable']}"
            yield name, ("fail", "missing package", hint)
        elif name in SAME_EVERYWHERE:
            yield name, _version(found, name, version, head["packages"].get(name), is_head=host == found.head)
    yield "orchestrator", _code(found, facts["code"], head["code"])
    yield "clock", _clock(found, host)
    yield "token", _token(found, facts)
    if found.storage is not None and host in found.storage:
        problem = found.storage[host]
        yield "storage", ("fail" if problem else "ok", problem or "shared, can be written", None)
    if (program := facts.get("program")) is not None:
        hint = f"install {program['name']} there, or add it to setup_commands"
        where = program["path"]
        yield (
            "program",
            ("ok" if where else "fail", where or f"no {program['name']} in PATH", None if where else hint),
        )
    yield "gpus", _gpus(facts["gpus"], found.ray_gpus.get(host))
    for name, free in facts["free"].items():
        yield f"disk {name}", _room(name, free)


def _python(found: Inspection, facts: Mapping[str, Any], head: Mapping[str, Any]) -> Result:
    if facts["python"] != head["python"]:
        hint = f"{found.head} has {head['python']}: Ray needs the same version everywhere"
        return "fail", facts["python"], hint
    return "ok", f"{facts['python']} ({facts['executable']})", None


def _version(found: Inspection, name: str, version: str, expected: str | None, *, is_head: bool) -> Result:
    if expected and _release(version) != _release(expected):
        return "fail", version, f"{found.head} has {expected}: install the same on every node"
    if expected and version != expected:
        return "warn", version, f"another build than {expected} on {found.head}"
    mine = found.laptop["packages"].get(name)
    if name == "ray" and mine and is_head and _release(mine) != _release(version):
        return "warn", version, f"the laptop's `ray up` is {mine}"
    return "ok", version, None


def _release(version: str) -> str:
    return version.partition("+")[0]


def _code(found: Inspection, mine: str | None, heads: str | None) -> Result:
    if mine is None:
        return "fail", "missing package", "install this project on every node: setup_commands"
    code = f"code {mine[:12]}"
    if heads not in (None, mine):
        return "fail", code, f"not the code of {found.head}: install the same on every node"
    if found.laptop["code"] not in (None, mine):
        return "warn", code, "not the code of the laptop"
    return "ok", code, None


def _clock(found: Inspection, host: str) -> Result:
    """Against the head's, which judges heartbeats; the laptop's clock only carries the comparison."""
    skew, of = found.clock_off_s[host], "the laptop"
    if host != found.head:
        skew, of = skew - found.clock_off_s.get(found.head, 0.0), found.head
    detail = f"{skew:+.1f} s against {of}"
    if abs(skew) <= CLOCK_WARN_S:
        return "ok", detail, None
    fails = abs(skew) > CLOCK_FAIL_S and host != found.head
    return "fail" if fails else "warn", detail, "set the clock: timedatectl set-ntp true"


def _token(found: Inspection, facts: Mapping[str, Any]) -> Result:
    token, path = facts["token"], facts["token"]["path"]
    if "error" in token:
        hint = "file_mounts of the cluster file brings it there; `orchestrate up` makes it"
        return "fail", f"missing: {path}: {token['error']}", hint
    if found.laptop["token"] is not None and token["fingerprint"] != found.laptop["token"]:
        hint = "orchestrate up --restart brings the laptop's there"
        return "fail", f"{path} is not the laptop's token", hint
    if token["mode"] & 0o077:
        return "fail", f"others may read {path} (mode {token['mode']:o})", f"chmod 600 {path}"
    if facts["auth_mode"] != "token":
        hint = "export RAY_AUTH_MODE=token in front of `ray start` in the cluster file"
        return "fail", "Ray is started without token authentication", hint
    return "ok", f"{path}, mode {token['mode']:o}", None


def _gpus(seen: Mapping[str, Any] | None, ray: float | None) -> Result:
    if seen is None:
        offered = "" if ray is None else f"; Ray offers {ray:g}"
        return "fail" if ray else "ok", f"no NVIDIA driver{offered}", None
    if "error" in seen:
        return "fail", f"nvidia-smi fails: {seen['error']}", "mend the driver"
    if ray is None:
        return "ok", f"{seen['count']} seen by the driver; Ray does not run here", None
    if int(ray) != seen["count"]:
        hint = "--num-gpus in the start commands, CUDA_VISIBLE_DEVICES; then orchestrate up --restart"
        return "fail", f"{seen['count']} seen by the driver, Ray offers {ray:g}", hint
    return "ok", f"{seen['count']}, all offered by Ray", None


def _room(name: str, free: int | None) -> Result:
    if free is None:
        return "warn", "there is no such place", ROOM_HINT[name]
    enough = free / GIB >= ROOM_GIB[name]
    return "ok" if enough else "warn", f"{free / GIB:.1f} GiB free", None if enough else ROOM_HINT[name]
