"""S3, for real (moto), behind a connection that breaks: what was complete stays; waits are told and end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stores import CREDENTIALS, Proxy, Server, server

from orchestrator.errors import StorageUnavailable
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.events import Noted
from orchestrator.record.journal import Journal, read_journal
from orchestrator.record.layout import StudyPaths, checkpoint_name
from orchestrator.record.patience import told_to
from orchestrator.record.storage import Storage

pytestmark = pytest.mark.slow

TRIAL = StudyPaths.of("s").trial("baseline", 0)
JOURNAL = StudyPaths.of("s").journal
SIZE = 1_000_000


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("moto", reason="moto is not installed")
    with server(tmp_path_factory.mktemp("moto") / "log") as running:
        yield running


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    between = Proxy(s3.port)
    yield between
    between.close()


@pytest.fixture
def store(s3: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Found by the environment alone, as a user would have it; not asked twice (its client tries for 6 s)."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    bucket = s3.bucket(f"bucket-{uuid.uuid4().hex[:8]}")
    return replace(Storage.open(f"s3://{bucket}/runs"), patience_s=3.0)


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    with told_to(lines.append):
        yield lines


def put(store: CheckpointStore, source: Path, step: int) -> None:
    source.mkdir(exist_ok=True)
    (source / "state.pt").write_bytes(bytes([step]) * SIZE)
    name = checkpoint_name(step)
    files = store.put_part(name, source)
    store.commit(name, Manifest(step, step, step, step, 1.0, 1, files=files))
    store.retain(keep_best=0, keep_latest=1)


def latest_step(storage: Storage) -> int:
    found = CheckpointStore(storage, TRIAL).latest()
    assert found is not None
    assert storage.read_bytes(f"{TRIAL.checkpoint(found.name)}/state.pt") == bytes([found.step]) * SIZE
    return found.step


def test_a_storage_that_travels_needs_no_environment(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    store.write_atomic("a/b", b"1")
    assert store.read_bytes("a/b") == b"1"
    assert [entry.name for entry in store.list("a")] == ["b"]
    store.check_writable()


@pytest.mark.parametrize(
    "mode", ["refuse", *(pytest.param(mode, marks=pytest.mark.long) for mode in ("cut", "busy"))]
)
def test_an_upload_that_breaks_in_the_middle_leaves_the_checkpoint_before(
    mode: str, store: Storage, proxy: Proxy, tmp_path: Path
) -> None:
    checkpoints = CheckpointStore(store, TRIAL)
    put(checkpoints, tmp_path / "own", 1)
    proxy.become(mode)
    with pytest.raises(StorageUnavailable) as caught:
        put(checkpoints, tmp_path / "own", 2)
    assert proxy.hit > 0
    assert caught.value.kind == "unavailable"
    assert f"{TRIAL.checkpoint(checkpoint_name(2))}" in str(caught.value)
    assert store.uri in str(caught.value)
    assert "see that the storage can be reached" in str(caught.value)
    proxy.become("pass")
    assert latest_step(store) == 1
    put(checkpoints, tmp_path / "own", 2)
    assert latest_step(store) == 2


@pytest.mark.long
def test_a_store_that_comes_back_in_time_costs_nothing_but_time(
    store: Storage, proxy: Proxy, told: list[str], tmp_path: Path
) -> None:
    patient = replace(store, patience_s=60.0)
    journal = Journal(patient, JOURNAL)
    journal.append(Noted("before"))
    journal.sync()
    proxy.become("refuse")
    back = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        if "waiting since" in line and not back.is_set():
            back.set()
            proxy.become("pass")

    with told_to(tell):
        journal.append(Noted("meanwhile"))
        journal.sync()
        put(CheckpointStore(patient, TRIAL), tmp_path / "own", 1)
    journal.close()
    assert [line.plain()["text"] for line in read_journal(store, JOURNAL).lines] == ["before", "meanwhile"]
    assert [entry.name for entry in store.list("s")][:2] == ["journal.jsonl.00001", "journal.jsonl.00002"]
    assert latest_step(store) == 1
    assert any("answers again after" in line for line in told)


@pytest.mark.long
def test_flapping_and_slow_storage_loses_nothing(store: Storage, proxy: Proxy, tmp_path: Path) -> None:
    """On and off at every third connection."""
    patient = replace(store, patience_s=60.0)
    proxy.become("slow")
    proxy.delay_s = 0.05
    stop = threading.Event()

    def flap() -> None:
        on = True
        while not stop.wait(0.4):
            on = not on
            proxy.become("slow" if on else "refuse")

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        journal = Journal(patient, JOURNAL)
        for number in range(5):
            journal.append(Noted(str(number)))
            journal.sync()
        put(CheckpointStore(patient, TRIAL), tmp_path / "own", 1)
        put(CheckpointStore(patient, TRIAL), tmp_path / "own", 2)
        journal.close()
    finally:
        stop.set()
        thread.join()
        proxy.become("pass")
    assert [line.plain()["text"] for line in read_journal(store, JOURNAL).lines] == list("01234")
    assert latest_step(store) == 2
    assert proxy.hit > 5


def test_wrong_bucket_and_wrong_rights_are_not_waited_for(store: Storage, told: list[str]) -> None:
    elsewhere = replace(Storage.open("s3://nobody-has-this-bucket/runs"), patience_s=store.patience_s)
    with pytest.raises((StorageUnavailable, FileNotFoundError)) as caught:
        elsewhere.write_atomic("x", b"1")
    assert "nobody-has-this-bucket" in str(caught.value) or "s3://" in str(caught.value)
    assert told == []


@pytest.mark.long
def test_an_object_that_is_replaced_while_it_is_read_is_the_old_one_or_the_new(store: Storage) -> None:
    store.write_atomic("lease", b"0")
    over = threading.Event()

    def replace_it() -> None:
        sizes = 0
        while not over.is_set():
            sizes = (sizes + 1) % 7
            store.write_atomic("lease", b"<" + b"x" * (50 * sizes) + b">")

    writer = threading.Thread(target=replace_it)
    writer.start()
    try:
        found = [store.read_bytes("lease") for _ in range(150)]
    finally:
        over.set()
        writer.join()
    assert [part for part in found if part != b"0" and not (part[:1] == b"<" and part[-1:] == b">")] == []
