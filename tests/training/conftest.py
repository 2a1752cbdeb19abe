"""Makes `toy` importable from the tests beside it, and gives sessions for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.training.local import LocalSession

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def session_for(tmp_path: Path) -> Callable[..., LocalSession]:
    def make(config: dict[str, Any], max_length: float = 3, **kwargs: Any) -> LocalSession:
        return LocalSession(config=config, max_length=max_length, trial_dir=str(tmp_path), **kwargs)

    return make
