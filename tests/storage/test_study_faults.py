"""A study whose storage fills up, becomes read-only or dies: exit 4, and later it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from disks import DyingDisk, fill, own_mounts, small_disk
from workbench import Bench

from orchestrator.record.checkpoints import CheckpointStore

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: heavy
entrypoint: heavy:train
metric: {name: loss, mode: min}
stopping: {rule: none, max: 6, unit: epoch}
baseline: {level: 1.0, kib: 64, dir: '{dir}'}
components:
  level: {swap: {two: {level: 2.0}}}
seeds: 1
resources: {max_parallel: 2}
"""
FAULTS: dict[str, tuple[str, str]] = {
    "disk full": ("No space left on device", "make room there"),
    "read-only": ("Read-only file system", "mount it for writing again"),
    "I/O error": ("Input/output error", "look at the disk"),
}


def break_it(fault: str, disk: DyingDisk | Path) -> Callable[[], object]:
    """Break the disk; returns what mends it."""
    if isinstance(disk, Path):
        return fill(disk).unlink
    disk.die() if fault == "I/O error" else disk.protect()
    return disk.revive


@pytest.fixture(scope="module")
def undisturbed(shared_bench: Callable[[str, str], Bench]) -> Bench:
    study = shared_bench("heavy", STUDY)
    assert study.run().code == 0
    return study


@own_mounts
@pytest.mark.parametrize(
    "fault",
    ["disk full", *(pytest.param(name, marks=pytest.mark.long) for name in ("read-only", "I/O error"))],
)
def test_a_study_whose_disk_fails_stops_with_4_and_goes_on_when_it_is_mended(
    fault: str, tmp_path: Path, undisturbed: Bench
) -> None:
    study = Bench(tmp_path / "disturbed", "heavy", STUDY)
    root = study.storage_root
    disk: DyingDisk | Path = small_disk(root, "16m") if fault == "disk full" else DyingDisk(root)
    try:
        (study.signs / "hold-4").touch()
        with study.running() as run:
            kept = lambda: len(study.events("checkpoint", "baseline", 0)) >= 3  # noqa: E731
            run.until(kept, "three checkpoints of the first trial")
            complete = CheckpointStore(study.storage, study.paths.trial("baseline", 0)).latest()
            mend = break_it(fault, disk)
            (study.signs / "hold-4").unlink()
            ended = run.end()
        assert ended.code == 4, ended.err
        words, advice = FAULTS[fault]
        error = next(line for line in ended.err.splitlines() if line.startswith("error: "))
        assert f"cannot write {study.storage_root}/heavy/" in error
        assert words in error
        assert advice in error
        if fault == "disk full":
            assert " bytes free there" in error
        mend()
        assert complete is not None
        latest = CheckpointStore(study.storage, study.paths.trial("baseline", 0)).latest()
        assert latest is not None
        assert latest.step >= complete.step
        again = study.run()
        assert again.code == 0, again.err
        assert_same(study, undisturbed)
        resumed = [row["attempt"] for row in study.rows("baseline", 0)]
        assert resumed[:3] == [1, 1, 1]
        assert resumed[-1] >= 2  # a worker may meet the fault before the driver does
    finally:
        if isinstance(disk, DyingDisk):
            closing(disk).__exit__()


@own_mounts
def test_a_worker_whose_scratch_disk_is_full_is_the_infrastructure_and_says_so(tmp_path: Path) -> None:
    scratch = small_disk(tmp_path / "scratch", "256k")
    fill(scratch, leave=64 << 10)
    more = f"  scratch: {{swap: {{full: {{scratch: '{scratch}'}}}}}}\nfailures: {{max_retries: 1}}\n"
    text = STUDY.replace("level: 1.0,", "level: 1.0, scratch: '',").replace("seeds: 1\n", f"{more}seeds: 1\n")
    study = Bench(tmp_path / "study", "heavy", text)
    run = study.run()
    assert run.code == 1, run.err
    rows = study.results()
    assert rows["baseline", 0]["state"] == "done"
    full = rows["scratch=full", 0]
    assert (full["state"], full["cause"], full["attempts"]) == ("failed", "infra", 2)
    assert full["reason"].startswith("disk full on ")
    assert "No space left on device" in full["reason"]
    assert f"free in {scratch}" in full["reason"]


def assert_same(study: Bench, undisturbed: Bench) -> None:
    """Curves and table are those of a study that nothing happened to."""
    for arm, seed in undisturbed.results():
        assert study.curve(arm, seed) == undisturbed.curve(arm, seed)
    same = ("state", "length", "value", "used")
    table, expected = study.results(), undisturbed.results()
    assert {key: [row[name] for name in same] for key, row in table.items()} == {
        key: [row[name] for name in same] for key, row in expected.items()
    }
