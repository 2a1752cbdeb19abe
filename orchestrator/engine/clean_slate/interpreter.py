"""State of the Python interpreter that is more than a value: modules, patches, loggers, warnings, memory."""

from __future__ import annotations

import contextlib
import gc
import logging
import operator
import os
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.engine.clean_slate.parts import Contents, refill

_INSTALLED = ("site-packages", "dist-packages")
_OWN = __name__.partition(".")[0]
_PATCHES_ITSELF = (
    "torch.optim.optimizer",  # the first use of an optimizer class
    "torch._dynamo.mutation_guard",  # the rest: the first compilation
    "torch._compile",
    "torch.compiler._cache",
)
_Reader = Callable[[Mapping[str, Any]], tuple[Any, ...]]
_DESCRIPTORS = (staticmethod, classmethod, property)
PATCHED_PACKAGES = ("torch", "numpy")
PATCHED_MODULES = (
    "builtins",
    "random",
    "math",
    "time",
    "os",
    "copy",
    "pickle",
    "json",
    "warnings",
    "logging",
)


class UserModules:
    """`sys.modules`: the user's own modules go, so that the next trial imports them anew; the rest stays.

    The user's own are those imported since whose file lies under `code_root` and not in an environment
    inside it. Installed libraries stay: importing them again costs seconds.
    """

    name = "sys.modules"

    def __init__(self, code_root: Path | None) -> None:
        self._modules = dict(sys.modules)
        self._roots: tuple[str, ...] = ()
        if code_root is not None:
            forms = (os.fspath(code_root.absolute()), os.path.realpath(code_root))
            self._roots = tuple({form.rstrip(os.sep) + os.sep for form in forms})

    def restore(self) -> None:
        for name in [name for name in sys.modules if name not in self._modules]:
            if self._is_users(sys.modules[name], name):
                self._forget(name)
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module

    def _is_users(self, module: Any, name: str) -> bool:
        if name.partition(".")[0] == _OWN:
            return False  # two copies of one of our classes would not recognise each other
        file = getattr(module, "__file__", None)
        places = [file] if isinstance(file, str) else [str(path) for path in getattr(module, "__path__", ())]
        for place in places:
            for root in self._roots:
                if place.startswith(root) and not any(part in place for part in _INSTALLED):
                    return True
        return False

    def _forget(self, name: str) -> None:
        module = sys.modules.pop(name)
        parent, _, child = name.rpartition(".")
        holder = sys.modules.get(parent)
        # `from package import module` would find the old one through the package that stays.
        if holder is not None and getattr(holder, "__dict__", {}).get(child) is module:
            delattr(holder, child)


class Patches:
    """Functions and classes that were replaced in torch, numpy and a few standard modules.

    Compares by identity the code (not the data: counters and caches of the libraries move on) of every
    module, and of every class of the packages. What torch replaced itself is left alone: it wraps optimizers
    at their first use, and `torch._dynamo` some functions at its first.
    """

    name = "replaced functions"

    def __init__(self) -> None:
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name in PATCHED_MODULES or name.partition(".")[0] in PATCHED_PACKAGES
        ]
        classes: dict[type, None] = {}
        self._owners: list[tuple[Any, int, tuple[str, ...], _Reader, tuple[Any, ...]]] = []
        for module in modules:
            self._keep(module)
            for value in list(vars(module).values()):
                if issubclass(type(value), type) and _package(value.__module__) in PATCHED_PACKAGES:
                    classes[value] = None
        for owner in classes:
            self._keep(owner)

    def _keep(self, owner: Any) -> None:
        # type(), not isinstance(): some deprecated names of torch warn when they are looked at.
        items = list(vars(owner).items())
        code = {name: value for name, value in items if callable(value) or type(value) in _DESCRIPTORS}
        if code or isinstance(owner, type):
            self._owners.append((owner, len(vars(owner)), tuple(code), _reader(*code), tuple(code.values())))

    def restore(self) -> list[str]:
        left: list[str] = []
        for owner, size, keys, read, saved in self._owners:
            now = vars(owner)
            if len(now) > size and isinstance(owner, type):
                _uncover(owner, keys)
            if not _same(read, now, saved):
                left += self._put_back(owner, keys, saved)
        return left

    def _put_back(self, owner: Any, keys: tuple[str, ...], saved: tuple[Any, ...]) -> list[str]:
        left = []
        for key, old in zip(keys, saved, strict=True):
            new = vars(owner).get(key)
            if new is not old and not _is_torchs_own(new):
                try:
                    setattr(owner, key, old)
                except (AttributeError, TypeError) as error:
                    left.append(f"{owner.__name__}.{key} stays replaced: {error}")
        return left


def _reader(*keys: str) -> _Reader:
    """All of an owner's values in one call: there are 60,000 of them, and a lane waits for the answer."""
    return operator.itemgetter(*keys) if len(keys) > 1 else lambda now: tuple(now[key] for key in keys)


def _same(read: _Reader, now: Mapping[str, Any], saved: tuple[Any, ...]) -> bool:
    """Tuples compare by identity first; an equal object in the place of another does the same."""
    try:
        return bool(read(now) == saved)
    except Exception:  # a name is gone, or what is there now cannot be compared: looked at one by one
        return False


def _uncover(owner: type, keys: tuple[str, ...]) -> None:
    """Remove new methods that hide an inherited one (`Linear.__call__ = ...`)."""
    for name, value in list(vars(owner).items()):
        if name in keys or not isinstance(value, types.FunctionType):
            continue
        foreign = _package(value.__globals__.get("__name__")) != _package(owner.__module__)
        if foreign and any(name in vars(base) for base in owner.__mro__[1:]):
            delattr(owner, name)


def _package(module: object) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""


def _is_torchs_own(new: Any) -> bool:
    """Whether torch put this function there itself, once, and would not do so again."""
    new = new.fget if isinstance(new, property) else new
    maker = getattr(new, "__globals__", {}).get("__name__")
    return maker in _PATCHES_ITSELF or bool(getattr(new, "_torchdynamo_disable", False))


class ImportHooks:
    """`sys.meta_path`: as before, plus finders of libraries that were imported since (six has one)."""

    name = "sys.meta_path"

    def __init__(self) -> None:
        self._list, self._saved = sys.meta_path, sys.meta_path[:]

    def restore(self) -> None:
        sys.meta_path = self._list
        if self._list != self._saved:
            new = [finder for finder in self._list if not any(finder is old for old in self._saved)]
            self._list[:] = self._saved + [finder for finder in new if self._of_library(finder)]

    @staticmethod
    def _of_library(finder: object) -> bool:
        module = getattr(finder if isinstance(finder, type) else type(finder), "__module__", None)
        return module != "__main__" and module in sys.modules


class Warnings:
    """Filters, and with them the memory of what was already warned about."""

    name = "warnings"

    def __init__(self) -> None:
        self._filters, self._saved = warnings.filters, list(warnings.filters)

    def restore(self) -> None:
        warnings.filters = self._filters
        warnings.resetwarnings()  # also invalidates every module's registry, so warnings show again
        refill(self._filters, self._saved)  # type: ignore[arg-type]
        registry = getattr(warnings, "onceregistry", None)
        if registry:
            registry.clear()


class Loggers:
    """Level, handlers, filters, propagation of every logger, and the settings of `logging` itself.

    Loggers that are new become blank; handlers that are new are closed.
    """

    name = "logging"

    def __init__(self) -> None:
        manager = logging.root.manager
        self._disable, self._raise = manager.disable, logging.raiseExceptions
        self._class, self._factory = logging.getLoggerClass(), logging.getLogRecordFactory()
        self._captures = getattr(logging, "_warnings_showwarning", None) is not None
        self._saved = {logger: self._state(logger) for logger in self._all()}

    @staticmethod
    def _all() -> Iterator[logging.Logger]:
        yield logging.root
        for logger in list(logging.root.manager.loggerDict.values()):
            if isinstance(logger, logging.Logger):
                yield logger

    @staticmethod
    def _state(logger: logging.Logger) -> tuple[Any, ...]:
        handlers = tuple((handler, handler.level, handler.formatter) for handler in logger.handlers)
        return logger.level, handlers, tuple(logger.filters), logger.propagate, logger.disabled

    def restore(self) -> None:
        logging.setLoggerClass(self._class)
        logging.setLogRecordFactory(self._factory)
        logging.raiseExceptions = self._raise
        if logging.root.manager.disable != self._disable:
            logging.disable(self._disable)
        if (getattr(logging, "_warnings_showwarning", None) is not None) != self._captures:
            logging.captureWarnings(self._captures)
        for logger in self._all():
            saved = self._saved.get(logger)
            if saved is None:
                quiet = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
                saved = (logging.NOTSET, tuple((h, h.level, h.formatter) for h in quiet), (), True, False)
            if self._state(logger) != saved:
                self._put_back(logger, saved)

    @staticmethod
    def _put_back(logger: logging.Logger, saved: tuple[Any, ...]) -> None:
        level, handlers, filters, logger.propagate, logger.disabled = saved
        logger.setLevel(level)
        keep = [handler for handler, _, _ in handlers]
        new = [handler for handler in logger.handlers if handler not in keep]
        logger.handlers[:], logger.filters[:] = keep, filters
        for handler, handler_level, formatter in handlers:
            handler.setLevel(handler_level)
            handler.setFormatter(formatter)
        for handler in new:
            # The file or stream may be closed already; what the trial logged is the trial's affair.
            with contextlib.suppress(OSError, ValueError):
                handler.close()


class Environment(Contents):
    """`os.environ`, and the time zone that the C library derives from it."""

    def __init__(self) -> None:
        super().__init__("os.environ", os, "environ")

    def restore(self) -> None:
        zone = os.environ.get("TZ")
        super().restore()
        if zone != self._saved.get("TZ") and hasattr(time, "tzset"):
            time.tzset()


class Garbage:
    """The collector's settings; the trial's objects are collected.

    What exists at the snapshot is frozen, which takes a full collection from about 90 ms to a few. Libraries
    that a trial imported stay, so they are frozen too.
    """

    name = "garbage"
    _MANY_MODULES = 50

    def __init__(self) -> None:
        self._enabled, self._thresholds, self._debug = gc.isenabled(), gc.get_threshold(), gc.get_debug()
        self._callbacks = gc.callbacks[:]
        gc.collect()
        gc.freeze()
        self._modules = len(sys.modules)

    def restore(self) -> None:
        gc.callbacks[:] = self._callbacks
        gc.set_debug(self._debug)
        gc.set_threshold(*self._thresholds)
        (gc.enable if self._enabled else gc.disable)()
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            sys.__dict__.pop(name, None)  # a traceback holds the frames, and they the model
        gc.collect()
        if len(sys.modules) > self._modules + self._MANY_MODULES:
            gc.freeze()
            self._modules = len(sys.modules)
