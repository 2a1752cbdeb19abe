"""Whole studies on S3 (moto) and GCS (an emulator): killed, taken up again, the same as on a directory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stores import CREDENTIALS, Proxy, Server, gcs_server, server
from test_study_faults import STUDY as PLAIN
from workbench import NO_METRICS, Bench

from orchestrator.cli.tensorboard import mirror
from orchestrator.record.journal import read_journal
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.run import Run
from orchestrator.record.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

TASK = """\
name: held
entrypoint: held:Held
metric: {name: val/accuracy, mode: max}
baseline:
  dir: '{dir}'
  data: {batch_size: 64, augment: true, mixup: 0.2}
  model: {width: 8, batchnorm: true, dropout: 0.1}
  optim: {name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}
components:
  mixup: {without: {data.mixup: 0.0}}
seeds: 1
stopping: {rule: none, max: 4, unit: epoch}
resources: {max_parallel: 2}
"""
STUDIES: dict[str, tuple[str, str]] = {"plain": ("heavy", PLAIN), "task": ("held", TASK)}
SAME = ("arm", "seed", "state", "length", "value", "used")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("moto", reason="moto is not installed")
    with server(tmp_path_factory.mktemp("moto") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")
    with gcs_server(tmp_path_factory.mktemp("gcs"), "studies") as host:
        yield host


@pytest.fixture(scope="module")
def undisturbed(shared_bench: Callable[[str, str], Bench]) -> Callable[[str], Bench]:
    """`undisturbed(kind)`: the same study on a directory, run when it is first asked for."""

    @cache
    def run(kind: str) -> Bench:
        made = shared_bench(*STUDIES[kind])
        assert made.run().code == 0
        return made

    return run


def events(storage: Storage, study: Bench, kind: str) -> list[dict[str, Any]]:
    found = read_journal(storage, study.paths.journal).lines
    return [line.plain() for line in found if line.event.kind == kind]


def table(storage: Storage, study: Bench) -> list[dict[str, Any]]:
    data = storage.read_bytes(study.paths.results_parquet)
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    return [{name: row[name] for name in SAME} for row in rows]


def curves(storage: Storage, study: Bench) -> dict[tuple[str, int], list[dict[str, Any]]]:
    found = {}
    for cell in study.plan().cells:
        rows = read_metrics(storage, study.paths.trial(cell.arm, cell.seed))
        found[cell.arm, cell.seed] = [{k: v for k, v in row.items() if k not in NO_METRICS} for row in rows]
    return found


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.long), "task"])
def test_a_study_on_s3_that_is_killed_equals_one_on_a_directory(
    kind: str,
    s3: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Callable[[str], Bench],
) -> None:
    proxy = Proxy(s3.port)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{s3.bucket(f'{kind}-studies')}/runs"

    def become_slow() -> None:
        proxy.delay_s = 0.02
        proxy.become("slow")

    study = killed_and_taken_up(kind, uri, tmp_path / "there", become_slow)
    proxy.become("pass")
    assert_same(Storage.open(uri), study, undisturbed(kind))
    store = Storage.open(uri)
    assert mirror(Run(store, study.paths), tmp_path / "mirror") >= len(study.plan().cells)
    assert store.exists(study.paths.report_md)
    proxy.close()


def test_a_study_on_gcs_that_is_killed_equals_one_on_a_directory(
    gcs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Callable[[str], Bench]
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    uri = "gs://anonymous@studies/runs"
    study = killed_and_taken_up("plain", uri, tmp_path / "there")
    assert_same(Storage.open(uri), study, undisturbed("plain"))


def killed_and_taken_up(
    kind: str, uri: str, root: Path, meanwhile: Callable[[], None] = lambda: None
) -> Bench:
    """A study whose driver is killed after two checkpoints; the same command again finishes it."""
    study = Bench(root, *STUDIES[kind])
    store = Storage.open(uri)
    (study.signs / "hold-4").touch()
    with study.running(f"storage={uri}") as run:
        run.until(lambda: len(events(store, study, "checkpoint")) >= 2, "two checkpoints")
        run.kill()
    (study.signs / "hold-4").unlink()
    meanwhile()
    last = study.run(f"storage={uri}")
    assert last.code == 0, last.err
    assert max(event["attempt"] for event in events(store, study, "assign")) >= 2
    return study


def assert_same(store: Storage, study: Bench, here: Bench) -> None:
    assert curves(store, study) == curves(here.storage, here)
    assert table(store, study) == table(here.storage, here)
