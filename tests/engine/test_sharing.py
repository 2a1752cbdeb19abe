"""Several studies on one machine: nothing is given out twice, and whoever waits gets its turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.capacity import Node
from orchestrator.engine.on_ray import _machine_part
from orchestrator.engine.ray_private.machine import FoundHere
from orchestrator.engine.sharing import (
    Claim,
    MachineShare,
    Offer,
    Peer,
    StudyRegister,
    Tenant,
    Want,
    entitled,
    in_words,
    more,
    share,
    wanted,
)
from orchestrator.study.spec import ResourcesSpec, StudySpec

FOUR = Offer(8, ("0", "1", "2", "3"))


def want(study: str = "me", gpus: float = 1, **changes: Any) -> Want:
    return Want(study, f"/runs/{study}", **{"cpus": 1.0, "gpus": gpus, **changes})


def tenant(study: str, cpus: float | None = None, gpus: str = "", **changes: Any) -> Tenant:
    some = {"pid": 7, "since": 10, "priority": 0, "least": (1.0, 1), **changes}
    return Tenant(study, f"/runs/{study}", cpus=cpus, gpus=tuple(gpus), **some)


@pytest.mark.parametrize(
    ("asked", "others", "cpus", "gpus"),
    [
        (want(), [], 4, "0123"),
        (want(groups=2), [], 2, "01"),
        (want(), [tenant("a", 3, "012")], 1, "3"),
        (want(), [tenant("a", 4, "0123")], None, ""),
        (want(gpus=0), [tenant("a", 4, "0123")], 4, ""),
        (want(gpus=0.5), [tenant("a", 2, "02")], 4, "13"),
        (want(gpus=0.5, groups=3), [], 3, "01"),
        (want(gpus=2, besides=1), [tenant("a", 1, "0")], 2, "12"),
        (want(gpus=3), [tenant("a", 2, "02")], None, ""),
        (want(), [tenant("me", 4, "0123")], 4, "0123"),  # another driver of the same study: the lease decides
        (
            want(gpus=5),
            [tenant("a", 4, "0123")],
            0,
            "0123",
        ),  # never fits: refused elsewhere, no reason to wait
        # one that waits in front keeps what one group of it needs, one behind does not
        (want(), [tenant("a", 4, "012"), tenant("b", least=(1.0, 2))], None, ""),
        (want(), [tenant("a", 4, "012"), tenant("b", least=(1.0, 2), since=30)], 1, "3"),
        (want(priority=1), [tenant("a", 4, "012"), tenant("b", least=(1.0, 2))], 1, "3"),
        (want(gpus=0), [tenant("a", 4, "0123"), tenant("b", least=(1.0, 2))], 3, ""),
    ],
)
def test_what_a_study_gets(asked: Want, others: list[Tenant], cpus: float | None, gpus: str) -> None:
    got = share(FOUR, asked, 20, others)
    assert (None if got is None else (got.cpus, "".join(got.gpus))) == (
        None if cpus is None else (cpus, gpus)
    )


def test_studies_on_processors_of_their_own_do_not_compete() -> None:
    here = Offer(2, (), frozenset({0, 1}))
    for others, cpus in ((frozenset({2, 3}), 2), (frozenset({1, 2}), None), (frozenset(), None)):
        got = share(here, want(gpus=0), 20, [tenant("a", 2, affinity=others)])
        assert (got and got.cpus) == cpus


@pytest.mark.parametrize(
    ("asked", "others", "cpus", "gpus"),
    [
        (want(), [], 2, "23"),
        (want(groups=3), [], 1, "2"),
        (want(groups=2), [], None, ""),
        (want(), [tenant("a", 1, "3")], 1, "2"),
        (want(), [tenant("a", 2, "23")], None, ""),
        (want(gpus=0), [tenant("a", 4)], 2, ""),
        (want(besides=1), [tenant("a", 3)], 3, "23"),  # of every node
        # whoever waits comes first, when it came and whatever its priority
        (want(), [tenant("a", least=(1.0, 1), since=99, priority=-9)], 1, "3"),
        (want(), [tenant("a", least=(1.0, 2), since=99)], None, ""),
    ],
)
def test_what_a_study_takes_while_it_runs(
    asked: Want, others: list[Tenant], cpus: float | None, gpus: str
) -> None:
    had = MachineShare(2, ("0", "1"), 2, 2)
    got = more(FOUR, asked, had, [*others, tenant("me", 2, "01", priority=9)])
    assert (None if got is None else (got.cpus, "".join(got.gpus))) == (
        None if cpus is None else (cpus, gpus)
    )


WANTS = st.builds(
    want,
    st.sampled_from("abcdef"),
    gpus=st.sampled_from([0, 0.5, 1, 2]),
    cpus=st.sampled_from([0.5, 1, 2]),
    groups=st.integers(1, 5),
    priority=st.integers(-1, 1),
)


@given(st.lists(st.tuples(WANTS, st.booleans()), max_size=12))
def test_nothing_is_given_out_twice_and_nobody_waits_for_ever(coming: list[tuple[Want, bool]]) -> None:
    """Studies come, one after the other; some leave in between. In the end all leave, in any order."""
    here: dict[int, tuple[Want, MachineShare | None]] = {}

    def tenants(but: int) -> list[Tenant]:
        return [
            Tenant(one.study + str(number), f"/{number}", 1, number, one.priority, one.least)
            if got is None
            else Tenant(one.study, f"/{number}", 1, number, one.priority, one.least, got.cpus, got.gpus)
            for number, (one, got) in here.items()
            if number != but
        ]

    def settle() -> None:
        for number, (one, got) in list(here.items()):
            if got is None:
                here[number] = (one, share(FOUR, one, number, tenants(number)))
            elif (further := more(FOUR, one, got, tenants(-1))) is not None:
                here[number] = (one, got + further)
                assert here[number][1].groups <= one.groups
        held = [got for _, got in here.values() if got is not None]
        gpus = [gpu for got in held for gpu in got.gpus]
        assert len(gpus) == len(set(gpus))
        assert sum(got.cpus for got in held) <= FOUR.cpus

    for number, (one, leaves) in enumerate(coming):
        here[number] = (one, None)
        settle()
        running = [other for other, (_, got) in here.items() if got is not None]
        if leaves and running:
            del here[running[-1]]
            settle()
    while here:
        running = [other for other, (_, got) in here.items() if got is not None]
        assert running  # somebody always has its turn
        del here[running[0]]
        settle()


def test_what_a_study_can_use_is_read_off_its_file() -> None:
    data = {
        "name": "x",
        "entrypoint": "a:b",
        "metric": {"name": "m", "mode": "max"},
        "baseline": {"a": 1},
        "seeds": 2,
        "stopping": {"max": 2},
        "resources": {"workers": 2, "cpus_per_worker": 2, "max_parallel": 3, "priority": 5},
    }
    spec = StudySpec.model_validate(data)
    assert wanted(spec, "/x", FOUR, None) == Want("x", "/x", 4, 2, 3, 0, 5)
    assert wanted(spec, "/x", Offer(8), 2) == Want("x", "/x", 4, 0, 2, 0, 5)


class Study:
    """One that claims in a thread, and says what it is told."""

    def __init__(self, registry: StudyRegister, asked: Want) -> None:
        self.said: list[str] = []
        self.claim: Claim | None = None
        self.waits, self.runs, self.leave = Event(), Event(), Event()
        self._thread = Thread(target=self._run, args=(registry, asked), daemon=True)
        self._thread.start()

    def _run(self, registry: StudyRegister, asked: Want) -> None:
        with registry.claimed(asked, FOUR, self._note, pause=lambda: Event().wait(0.01)) as self.claim:
            self.runs.set()
            self.leave.wait(60)

    def _note(self, text: str) -> None:
        self.said.append(text)
        self.waits.set()

    def end(self) -> None:
        self.leave.set()
        self._thread.join(60)


def test_one_waits_until_another_leaves_and_is_told_for_whom(tmp_path: Path) -> None:
    registry = StudyRegister(tmp_path / "studies")
    assert registry.tenants() == []
    first = Study(registry, want("first"))
    assert first.runs.wait(60)
    second = Study(registry, want("second"))
    assert second.waits.wait(60)
    assert not second.runs.is_set()
    assert "waiting for 1 CPU and 1 GPU" in second.said[0]
    assert "first (process " in second.said[0]
    assert "4 CPUs and 4 GPUs (0, 1, 2, 3)" in second.said[0]
    assert [one.waits for one in registry.tenants()] == [False, True]
    assert "second" in in_words(registry.tenants())
    first.end()
    assert second.runs.wait(60)
    assert second.claim is not None
    assert second.claim.got.gpus == FOUR.gpus
    second.end()
    assert registry.tenants() == []
    assert (tmp_path / "studies").stat().st_mode & 0o777 == 0o700


HOLDS = """
import sys
from pathlib import Path
from orchestrator.engine.sharing import Offer, StudyRegister, Want
offer = Offer(8, ("0", "1", "2", "3"))
with StudyRegister(Path(sys.argv[1])).claimed(Want("killed", "/killed", 1, 1, 3), offer, print):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_study_had_is_free_and_shares_are_told(tmp_path: Path) -> None:
    registry = StudyRegister(tmp_path / "studies")
    command = [sys.executable, "-c", HOLDS, str(registry.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "has it\n"
        notes: list[str] = []
        with registry.claimed(want("beside"), FOUR, notes.append) as claim:
            assert claim.got.gpus == ("3",)
        assert notes == [
            "shares this machine: 1 of 8 CPUs, 1 of 4 GPUs (3) are this study's; "
            f"killed (process {holder.pid}) has 3 CPUs and 3 GPUs (0, 1, 2)"
        ]
        holder.kill()
    with registry.claimed(want("after"), FOUR, notes.append) as claim:
        assert claim.got.gpus == FOUR.gpus
    assert len(notes) == 1


@pytest.mark.parametrize("spoil", [lambda at: at.write_text(""), lambda at: at.mkdir(mode=0o755)])
def test_a_directory_that_is_not_ours_alone_is_not_trusted(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "studies")
    notes: list[str] = []
    registry = StudyRegister(tmp_path / "studies")
    with registry.claimed(want(), FOUR, notes.append) as claim:
        assert claim.got == MachineShare(8, FOUR.gpus, 8)
        assert claim.more(9) is None
    assert "other studies on this machine are not seen" in notes[0]
    assert registry.tenants() == []


def test_a_study_grows_into_what_another_one_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By nodes of its Ray that are begun in its place here."""
    begun, began, ended = [], Event(), []

    def begin(cpus: int, gpus: int, variables: dict[str, str]) -> Callable[[], None]:
        begun.append((cpus, gpus, variables["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_VISIBLE_DEVICES"]))
        began.set()
        return lambda: ended.append(gpus)

    monkeypatch.setattr(_machine_part, "begin_node", begin)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    registry = StudyRegister(tmp_path / "studies")
    first = Study(registry, want("first", groups=2))
    assert first.runs.wait(60)
    found = FoundHere(8, ("4", "5", "6", "7"), FOUR.gpus, "CUDA_VISIBLE_DEVICES")
    notes: list[str] = []
    with registry.claimed(want("second", groups=4), FOUR, print) as claim:
        part = _machine_part.MachinePart(found, claim, notes.append)
        assert part.variables() == {"RAY_OVERRIDE_RESOURCES": None, "CUDA_VISIBLE_DEVICES": "6,7"}
        assert part.options() == {"num_cpus": 6, "num_gpus": 2}
        with part.growing():
            part.could_use(3)
            first.end()
            while not began.wait(0.01):
                part.could_use(3)
        assert begun == [(1, 1, "4", "6,7,4")]
        assert ended == [1]
        assert "1 CPU and 1 GPU (0)" in notes[0]
        assert [(mine.cpus, mine.gpus) for mine in registry.tenants()] == [(3, ("2", "3", "0"))]


def test_a_node_that_cannot_be_begun_is_left_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("no such thing")

    monkeypatch.setattr(_machine_part, "begin_node", fail)
    registry = StudyRegister(tmp_path / "studies")
    found = FoundHere(8, FOUR.gpus, FOUR.gpus, "CUDA_VISIBLE_DEVICES")
    told = Event()
    with registry.claimed(want("me", gpus=0), FOUR, print) as claim:
        claim.keep(MachineShare(2, (), 2, 2))
        part = _machine_part.MachinePart(found, claim, lambda _: told.set())
        with part.growing():
            part.could_use(4)
            assert told.wait(60)
        assert claim.got.groups == 2


def peer(study: str, gpus: float = 1, **resources: Any) -> Peer:
    return Peer(study, len(study), gpus, ResourcesSpec(**resources))


NODES = [Node(str(number), "", 8, 4) for number in range(2)]


@pytest.mark.parametrize(
    ("me", "others", "groups"),
    [
        (peer("me"), [peer("a")], 4),
        (peer("me"), [peer("a"), peer("b")], 3),  # 8 / 3, and a part is a whole one
        (peer("me"), [peer("a", max_parallel=1), peer("b")], 4),  # 7 / 2
        (peer("me", max_parallel=2), [peer("a")], 2),
        (peer("me"), [peer("a", priority=1)], 0),
        (peer("me"), [peer("a", priority=1, max_parallel=6)], 2),
        (peer("me", priority=1), [peer("a"), peer("b", priority=-1)], 8),
        (peer("me", 0, cpus_per_worker=2), [peer("a")], 4),
        (peer("me"), [peer("a", gpus=9)], 8),  # fits nowhere, and takes nothing
        (peer("me", workers=3), [peer("a")], 1),
        (peer("me"), [replace(peer("a", priority=1), could_use=3)], 5),  # it has trials for no more
        (replace(peer("me"), could_use=0), [peer("a")], 0),
    ],
)
def test_parts_of_a_cluster(me: Peer, others: list[Peer], groups: int) -> None:
    assert entitled(me, others, NODES) == groups


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-1, 1)), min_size=1, max_size=6))
def test_studies_work_their_parts_out_alike(asked: list[tuple[int, int]]) -> None:
    """Together they have the whole cluster, or all that they want, and less than a group each beyond it."""
    peers = [
        peer(f"{'x' * number}", max_parallel=most, priority=priority)
        for number, (most, priority) in enumerate(asked)
    ]
    parts = {one.study: entitled(one, [two for two in peers if two is not one], NODES) for one in peers}
    wanted_ = sum(min(8, most) for most, _ in asked)
    assert min(8, wanted_) <= sum(parts.values()) < 8 + len(peers)


def test_a_study_is_known_by_the_name_of_its_actor() -> None:
    one = peer('a "study"', 0.5, workers=2, accelerator_type="H100", max_parallel=3, priority=-2)
    assert Peer.named(one.name) == one
    for other in ("actor", "orchestrator study ", 'orchestrator study ["a", 1, 1, {"workers": 0}]'):
        assert Peer.named(other) is None
