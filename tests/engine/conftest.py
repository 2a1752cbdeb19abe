"""Makes `workbench` importable from the tests beside it, and gives benches for whole modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from workbench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bench]:
    """`bench("faulty", study_text)`."""

    def make(entrypoint: str | None, text: str, prelude: str = "") -> Bench:
        return Bench(tmp_path_factory.mktemp(entrypoint or "study"), entrypoint, text, prelude)

    return make
