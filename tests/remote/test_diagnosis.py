"""What doctor says of a cluster, fault by fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.remote.diagnosis import GIB, HostFinding, Inspection, diagnose

VERSIONS = {"ray": "2.60.0", "torch": "2.13.0+cu130", "tensorboardX": "2.6"}
NEEDED = list(VERSIONS)


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "host": "h",
        "clock": 0.0,
        "python": "3.11.7",
        "executable": "/env/bin/python3",
        "packages": VERSIONS,
        "code": "c" * 64,
        "auth_mode": "token",
        "token": {"path": "/home/u/.ray/auth_token", "mode": 0o600, "fingerprint": "f"},
        "free": {"temporary": 9 * GIB, "home": 9 * GIB, "storage": 9 * GIB},
        "gpus": {"count": 2},
        **changes,
    }


def inspection(**changes: Any) -> Inspection:
    """A sound cluster of two, with changes to the worker's facts."""
    return Inspection(
        head="head",
        facts={"head": facts(gpus=None), "worker": facts(**changes)},
        unreachable={},
        clock_off_s={"head": 0.0, "worker": 0.1},
        storage={"head": None, "worker": None},
        ray_gpus={"head": 0.0, "worker": 2.0},
        laptop={"packages": {"ray": "2.60.0"}, "code": "c" * 64, "token": "f"},
        needed=NEEDED,
    )


def wrong(found: Inspection) -> list[HostFinding]:
    return [finding for finding in diagnose(found) if finding.state != "ok"]


def test_a_sound_cluster() -> None:
    findings = diagnose(inspection())
    assert {finding.state for finding in findings} == {"ok"}
    checks = {finding.check for finding in findings if finding.host == "worker"}
    assert checks >= {"ssh", "python", "ray", "torch", "orchestrator", "clock", "token", "storage", "gpus"}


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"python": "3.11.9"}, "python", "fail", "head has 3.11.7"),
        ({"packages": {**VERSIONS, "ray": "2.59.0"}}, "ray", "fail", "head has 2.60.0"),
        ({"packages": {**VERSIONS, "torch": "2.12.0+cu130"}}, "torch", "fail", "head has 2.13.0"),
        ({"packages": {**VERSIONS, "torch": "2.13.0+cpu"}}, "torch", "warn", "another build than"),
        ({"packages": {**VERSIONS, "tensorboardX": None}}, "tensorboardX", "fail", "missing package"),
        ({"code": "d" * 64}, "orchestrator", "fail", "not the code of head"),
        ({"code": None}, "orchestrator", "fail", "missing package"),
        ({"token": {"path": "/t", "error": "No such file"}}, "token", "fail", "missing: /t: No such file"),
        ({"token": {**facts()["token"], "mode": 0o644}}, "token", "fail", "others may read"),
        ({"token": {**facts()["token"], "fingerprint": "g"}}, "token", "fail", "is not the laptop's token"),
        ({"auth_mode": None}, "token", "fail", "without token authentication"),
        ({"program": {"name": "julia", "path": None}}, "program", "fail", "no julia in PATH; install"),
        ({"gpus": {"count": 4}}, "gpus", "fail", "4 seen by the driver, Ray offers 2"),
        ({"gpus": {"error": "driver mismatch"}}, "gpus", "fail", "nvidia-smi fails: driver mismatch"),
        ({"gpus": None}, "gpus", "fail", "no NVIDIA driver; Ray offers 2"),
        ({"free": {"storage": GIB}}, "disk storage", "warn", "1.0 GiB free; checkpoints need room"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line(changes: dict[str, Any], check: str, state: str, words: str) -> None:
    [finding] = wrong(inspection(**changes))
    assert (finding.host, finding.check, finding.state) == ("worker", check, state)
    assert words in finding.line


@pytest.mark.parametrize(("off_s", "state"), [(1.0, None), (-5.0, "warn"), (60.0, "fail")])
def test_clocks_are_compared_with_the_head(off_s: float, state: str | None) -> None:
    """The laptop's own clock may be wrong: both hosts are an hour off."""
    found = replace(inspection(), clock_off_s={"head": 3600.0, "worker": 3600.0 + off_s})
    states = {finding.host: finding.state for finding in wrong(found) if finding.check == "clock"}
    assert states.get("worker") == state
    assert states["head"] == "warn"


def test_unshared_storage_and_hosts_that_do_not_answer() -> None:
    found = replace(
        inspection(),
        storage={"head": None, "worker": "not shared"},
        unreachable={"gone": "Connection refused"},
    )
    assert [(finding.host, finding.check) for finding in wrong(found)] == [
        ("gone", "ssh"),
        ("worker", "storage"),
    ]


def test_while_ray_is_down_gpus_are_only_counted() -> None:
    assert wrong(replace(inspection(), ray_gpus={})) == []


def test_another_version_on_the_laptop_is_a_warning() -> None:
    found = replace(inspection(), laptop={"packages": {"ray": "2.61.0"}, "code": "e" * 64, "token": "f"})
    assert {(finding.host, finding.check, finding.state) for finding in wrong(found)} == {
        ("head", "ray", "warn"),
        ("head", "orchestrator", "warn"),
        ("worker", "orchestrator", "warn"),
    }
