"""What an error says about the storage, and waiting for one that may come back."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from orchestrator.errors import StorageUnavailable, StudyError
from orchestrator.record.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, patiently, told_to
from orchestrator.record.storage import Storage
from orchestrator.record.storage.objectstore import with_endpoint
from orchestrator.record.storagefaults import classify, unavailable


def of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


SAID = {
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7": "unavailable",
    "AWS Error SLOW_DOWN during UploadPart operation: Please reduce your request rate.": "unavailable",
    "AWS Error UNKNOWN (HTTP status 500) during PutObject operation": "unavailable",
    "AWS Error ACCESS_DENIED during PutObject operation: Access Denied": "permission",
    "AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation: no such key": "permission",
    "AWS Error NO_SUCH_BUCKET during PutObject operation: The bucket does not exist": "missing",
    "google::cloud::Status(PERMISSION_DENIED: no storage.objects.create access": "permission",
    "google::cloud::Status(UNAVAILABLE: Retry policy exhausted": "unavailable",
    "Quota exceeded for this project": "disk full",
}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (of(errno.ENOSPC), "disk full"),
        (of(errno.EDQUOT), "disk full"),
        (of(errno.EROFS), "read-only"),
        (of(errno.EACCES), "permission"),
        (of(errno.EIO), "I/O error"),
        (of(errno.ESTALE), "unavailable"),
        (of(errno.ETIMEDOUT), "unavailable"),
        *((OSError(text), kind) for text, kind in SAID.items()),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"), "I/O error"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_told_apart(error: BaseException, kind: str) -> None:
    fault = classify(error)
    assert fault is not None
    assert fault.kind == kind


@pytest.mark.parametrize(
    "error",
    [of(errno.ENOENT), of(errno.ENOTDIR), ValueError("no space left in this sentence"), KeyError("x")],
    ids=repr,
)
def test_what_is_no_fault_of_a_storage_is_none(error: BaseException) -> None:
    assert classify(error) is None


def test_causes_are_looked_at_and_mere_contexts_are_not() -> None:
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = of(errno.ENOSPC)
    beside = RuntimeError("another matter")
    beside.__context__ = of(errno.ENOSPC)
    found = classify(wrapped)
    assert found is not None
    assert found.kind == "disk full"
    assert classify(beside) is None


def test_the_message_names_path_reason_room_and_remedy_and_survives_the_way_home() -> None:
    error = unavailable(of(errno.ENOSPC), "write", "/runs/s/journal.jsonl", free_bytes=12_345)
    assert str(error).startswith("cannot write /runs/s/journal.jsonl: No space left on device; 12.3 kB free")
    assert "make room there" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.kind) == (str(error), "disk full")


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def ask(times: int, error: OSError, patience_s: float = 120.0) -> tuple[str, Clock, list[str]]:
    """`times` failures, then an answer."""
    clock, told, left = Clock(), list[str](), [times]

    def act() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "here"

    with told_to(told.append):
        try:
            answer = patiently(act, "read x", patience_s, sleep=clock.sleep, clock=clock)
        except OSError as raised:
            answer = f"gave up: {raised.errno}"
    return answer, clock, told


def test_a_storage_that_comes_back_is_waited_for_with_growing_pauses() -> None:
    answer, clock, told = ask(6, of(errno.ETIMEDOUT))
    assert answer == "here"
    assert clock.pauses == [FIRST_PAUSE_S, 1.0, 2.0, 4.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert "cannot read x, waiting since" in told[0]
    assert "answers again after 24 s" in told[1]
    assert len(told) == 2


def test_waiting_ends() -> None:
    answer, clock, told = ask(1000, of(errno.ETIMEDOUT), patience_s=60.0)
    assert answer.startswith("gave up")
    assert clock.now <= 60.0
    assert len(told) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.ENOENT])
def test_what_does_not_pass_by_itself_is_not_waited_for(number: int) -> None:
    answer, clock, told = ask(1, of(number))
    assert answer == f"gave up: {number}"
    assert (clock.pauses, told) == ([], [])


def test_the_environment_names_the_endpoint_and_the_uri_comes_first() -> None:
    minio = {"AWS_ENDPOINT_URL": "http://minio:9000/", "STORAGE_EMULATOR_HOST": "localhost:9023"}
    assert with_endpoint("s3://b/p", {}) == "s3://b/p"
    assert with_endpoint("s3://b/p", minio) == "s3://b/p?endpoint_override=minio%3A9000&scheme=http"
    assert with_endpoint("s3://b/p?region=eu", {"AWS_ENDPOINT_URL_S3": "https://x"}) == (
        "s3://b/p?region=eu&endpoint_override=x&scheme=https"
    )
    own = "s3://b/p?endpoint_override=own:1&scheme=http"
    assert with_endpoint(own, minio) == own
    assert "endpoint_override=localhost%3A9023&scheme=http" in with_endpoint("gs://b/p", minio)
    with pytest.raises(StudyError):
        Storage.open("s3://b/p?no_such_option=1")


@pytest.mark.parametrize(
    "uri", ["s3://KEY:hunter2@bucket/runs", "s3://bucket/runs?access_key=KEY&secret_key=hunter2"]
)
def test_credentials_in_the_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StudyError, match="credentials do not belong in the URI") as caught:
        Storage.open(uri)
    assert "hunter2" not in str(caught.value)


def test_a_fault_without_a_kind_is_still_one_of_the_storage() -> None:
    fault = classify(StorageUnavailable("gone"))
    assert fault is not None
    assert fault.kind == "unavailable"
