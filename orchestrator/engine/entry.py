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
    """A loaded entrypoint; `data` is the DataModule that goes with a LightningModule."""

    kind: Literal["task", "function", "lightning"]
    target: Any
    data: Any = None


def load_entry(entrypoint: str, code_root: Path | None, datamodule: str | None = None) -> Entry:
    """Import `package.module:name`, with the code directory first on the path.

    Raises:
        Exception: whatever the user's module raises.
        TypeError: the name is neither a Task, a LightningModule nor a function of one argument; or there is a
            `datamodule` that is none, or beside something else than a LightningModule.
    """
    target = load_name(entrypoint, code_root)
    if inspect.isclass(target) and issubclass(target, Task):
        kind: Literal["task", "function", "lightning"] = "task"
    elif _is_lightning(target, "LightningModule", entrypoint):
        kind = "lightning"
    elif callable(target) and not inspect.isclass(target):
        kind = "function"
    else:
        raise TypeError(
            f"{entrypoint} is a {type(target).__name__}; an entrypoint is a subclass of orchestrator.Task, "
            "a LightningModule, or a Ray Train function `def train(config)`"
        )
    if datamodule is None:
        return Entry(kind, target)
    if kind != "lightning":
        raise TypeError(f"datamodule goes with a LightningModule, but {entrypoint} is a {kind}; remove it")
    data = load_name(datamodule, code_root)
    if not _is_lightning(data, "LightningDataModule", datamodule):
        raise TypeError(f"{datamodule} is no LightningDataModule; `datamodule` names a subclass of it")
    return Entry(kind, target, data)


def load_name(path: str, code_root: Path | None) -> Any:
    """What `package.module:name` is bound to."""
    if code_root is not None and str(code_root) not in sys.path:
        sys.path.insert(0, str(code_root))
    module_name, _, name = path.partition(":")
    target: Any = importlib.import_module(module_name)
    for part in name.split("."):
        target = getattr(target, part)
    return target


def _is_lightning(target: Any, base: str, path: str) -> bool:
    """Whether it is a subclass of Lightning's `base`; told by names: Lightning takes seconds to import."""
    if not inspect.isclass(target):
        return False
    packages = {kind.__module__.partition(".")[0] for kind in target.__mro__ if kind.__name__ == base}
    if "pytorch_lightning" in packages:
        raise TypeError(f"{path} is built on pytorch_lightning; import lightning.pytorch instead")
    return "lightning" in packages
