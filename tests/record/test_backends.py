"""Every back end keeps the promises that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.record.storage import Backend, Storage
from orchestrator.record.storage.conformance import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promises(storage: Storage, promise: Callable[[Backend], None]) -> None:
    promise(storage.backend)
