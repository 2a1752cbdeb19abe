"""Whole studies on S3 (moto): killed, taken up again, and the same as on a directory, curves and table."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stores import CREDENTIALS, Proxy, Server, server
from test_study_faults import STUDY as PLAIN
from workbench import NO_METRICS, Bench

from orchestrator.record.journal import read_journal
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.mirror import mirror_events
from orchestrator.record.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TASK = """\
name: heavy
entrypoint: trials.digits:Digits
metric: {name: val/accuracy, mode: max}
baseline:
  data: {batch_size: 64, augment: true, mixup: 0.2}
  model: {width: 8, batchnorm: true, dropout: 0.1}
  optim: {name: adamw, lr: 3e-3, weight_decay: 0.01, schedule: cosine}
components:
  mixup: {without: {data.mixup: 0.0}}
seeds: 1
stopping: {rule: none, max: 4, unit: epoch}
resources: {max_parallel: 2}
"""
SAME = ("arm", "seed", "state", "length", "value", "used")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("moto", reason="moto is not installed")
    with server(tmp_path_factory.mktemp("moto") / "log") as running:
        yield running


def events(storage: Storage, study: Bench, kind: str) -> list[dict[str, Any]]:
    found = read_journal(storage, study.paths.journal).events
    return [dict(event) for event in found if event["event"] == kind]


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


@pytest.mark.parametrize("kind", ["plain", "task"])
def test_a_study_on_s3_that_is_killed_equals_one_on_a_directory(
    kind: str, s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoint, text = {"plain": ("heavy", PLAIN), "task": (None, TASK)}[kind]
    here = Bench(tmp_path / "here", entrypoint, text)
    assert here.run().code == 0

    proxy = Proxy(s3.port)
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
        monkeypatch.setenv(name, value)
    uri = f"storage=s3://{s3.bucket(f'{kind}-studies')}/runs"
    there = Bench(tmp_path / "there", entrypoint, text)
    store = Storage.open(uri.removeprefix("storage="))
    (there.signs / "hold-4").touch()
    with there.running(uri) as run:
        run.until(lambda: len(events(store, there, "checkpoint")) >= 2, "two checkpoints")
        run.signal(signal.SIGKILL)
        run.process.wait()
    (there.signs / "hold-4").unlink()
    proxy.become("slow")
    proxy.delay_s = 0.02
    last = there.start(uri).end()
    assert last.code == 0, last.err

    assert curves(store, there) == curves(here.storage, here)
    assert table(store, there) == table(here.storage, here)
    assert max(event["attempt"] for event in events(store, there, "assign")) >= 2
    assert mirror_events(store, there.paths, tmp_path / "mirror") >= len(there.plan().cells)
    assert store.exists(there.paths.report_md)
    proxy.close()
