"""Import the user's entrypoint on a worker and see which contract it follows."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.training.task import Task


@dataclass(frozen=True)
class Entry:
    """A loaded entrypoint."""

    kind: Literal["task", "function"]
    target: Any


def load_entry(entrypoint: str, code_root: Path | None) -> Entry:
    """Import `package.module:name`, with the code directory first on the path.

    Raises:
        Exception: whatever the user's module raises.
        TypeError: the name is neither a Task nor a function of one argument.
    """
    if code_root is not None and str(code_root) not in sys.path:
        sys.path.insert(0, str(code_root))
    module_name, _, name = entrypoint.partition(":")
    target: Any = importlib.import_module(module_name)
    for part in name.split("."):
        target = getattr(target, part)
    if inspect.isclass(target) and issubclass(target, Task):
        return Entry("task", target)
    if callable(target) and not inspect.isclass(target):
        return Entry("function", target)
    raise TypeError(
        f"{entrypoint} is a {type(target).__name__}; an entrypoint is a subclass of orchestrator.Task "
        "or a Ray Train function `def train(config)`"
    )
