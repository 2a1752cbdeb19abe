"""Every back end keeps the promises that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import StudyError
from orchestrator.record.storage import Backend, Storage
from orchestrator.record.storage.conformance import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promises(storage: Storage, promise: Callable[[Backend], None]) -> None:
    promise(storage.backend)


@pytest.mark.parametrize("uri", ["carrier-pigeon://coop/7", "s3a+dvc://x", "sftp2://host"])
def test_unknown_schemes_are_refused_in_words(uri: str) -> None:
    with pytest.raises(StudyError, match="cannot use this storage") as caught:
        Storage.open(uri)
    assert caught.value.faults[0].value == uri
