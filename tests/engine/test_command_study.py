"""A command on Ray: killed with its worker and with its driver, it goes on from its own checkpoint, once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from workbench import Bench, Running, SharedBench

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = """\
name: script
entrypoint:
  command: python script.py --level {level} --seed {seed} --epochs {max_length} --pause {dir} {{more}}
  resume: --resume {checkpoint}
  checkpoint: out/epoch-*.json
metric: {name: loss, mode: min}
baseline: {level: 1.0, more: []}
components:
  level: {swap: {high: {level: 2.0}}}
seeds: [0]
stopping: {rule: none, max: 4, unit: epoch}
resources: {max_parallel: 1}
""".replace("{{more}}", "{more}")
LIMIT_S = 120.0


def expected(level: float, epochs: int) -> list[float]:
    state, curve = 1.0, []
    for epoch in range(1, epochs + 1):
        state = (state * 1.7 + level * 0.31) % 1.0
        curve.append(level + state / (1 + epoch))
    return curve


def below(folder: Path) -> dict[int, str]:
    """Processes that work below a directory, with their words."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_bytes().decode().replace("\0", " ")
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


class Watched:
    """The study's first trial as it runs."""

    def __init__(self, study: Bench, run: Running) -> None:
        self.study, self.run = study, run
        self.trial = study.trial_file("baseline", 0, "")

    def command(self, epoch: int) -> int:
        """The process of the command once the record has its checkpoint of an epoch."""
        kept = self.trial / "checkpoints"
        step = f"step-{epoch:08d}*.json"
        self.run.until(lambda: bool(list(kept.glob(step))), f"checkpoint {epoch}", LIMIT_S)
        (pid,) = [
            pid
            for pid, words in below(self.study.storage_root).items()
            if "script.py" in words and "_supervisor.py" not in words
        ]
        return pid


def nothing_is_left(study: Bench) -> bool:
    """Whether all that works below the storage ends: Ray tells workers late that a driver is gone."""
    deadline = time.monotonic() + LIMIT_S
    while below(study.storage_root) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not below(study.storage_root)


@pytest.mark.long
def test_killed_with_worker_and_driver_it_goes_on_where_it_was(
    shared_bench: Callable[..., SharedBench],
) -> None:
    study = shared_bench("script", STUDY)
    with study.running("--address", study.address) as run:
        watched = Watched(study, run)
        os.kill(watched.command(1), signal.SIGKILL)
        (study.signs / "go-1").touch()
        supervisor = parent(watched.command(2))
        os.kill(parent(supervisor), signal.SIGKILL)
        (study.signs / "go-2").touch()
        watched.command(3)
        run.kill()
    assert nothing_is_left(study)
    for epoch in (3, 4):
        (study.signs / f"go-{epoch}").touch()
    assert study.run().code == 0
    assert nothing_is_left(study)
    assert [row["loss"] for row in study.rows("baseline")] == expected(1.0, 4)
    assert [row["loss"] for row in study.rows("level=high")] == expected(2.0, 4)
    log = watched.trial.joinpath("log.txt").read_text()
    assert [f"begins with epoch {epoch}," in log for epoch in (1, 2, 3, 4)] == [True] * 4
    assert study.results()["baseline", 0]["state"] == "done"
    assert [event["fault"] for event in study.events("failure")] == ["worker killed", "worker killed"]


def test_asha_ends_a_command_soon_after_the_rung(shared_bench: Callable[..., SharedBench]) -> None:
    text = STUDY.replace("rule: none, max: 4", "rule: asha, grace: 1, reduction: 2, max: 4")
    study = shared_bench("script", text.replace("{level: 2.0}", '{level: 2.0, more: ["--hold"]}'))
    for epoch in (1, 2, 3, 4):
        (study.signs / f"go-{epoch}").touch()
    assert study.run().code == 0
    assert json.loads((study.storage_root / "script" / "env.json").read_text())["address"] == study.address
    rows = study.results()
    assert (rows["baseline", 0]["state"], rows["level=high", 0]["state"]) == ("done", "stopped")
    (decided,), (ended,) = (study.events(kind, "level=high") for kind in ("decision", "end"))
    assert ended["t"] - decided["t"] < 5
    assert below(study.storage_root) == {}


@pytest.mark.long
def test_two_workers_are_ranks_of_one_command(shared_bench: Callable[..., SharedBench]) -> None:
    text = STUDY.replace("max_parallel: 1", "workers: 2, cpus_per_worker: 1")
    study = shared_bench("script", text)
    for epoch in (1, 2, 3, 4):
        (study.signs / f"go-{epoch}").touch()
    assert study.run().code == 0
    assert [row["loss"] for row in study.rows("level=high")] == expected(2.0, 4)
    logs = [study.trial_file("baseline", 0, name).read_text() for name in ("log.txt", "log-rank1.txt")]
    assert [log.splitlines()[0] for log in logs] == [
        f"begins with epoch 1, rank {rank} of 2" for rank in (0, 1)
    ]
