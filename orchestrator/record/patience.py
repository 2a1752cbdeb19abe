"""Waiting for a storage that does not answer: again after a while, not for ever, and never in silence.

Only what is idempotent may be tried again: reads, listings, deletions, and puts of whole objects.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from orchestrator.record.storagefaults import StorageFaultKind, classify

log = logging.getLogger(__name__)

PATIENCE_S = 120.0
"""How long a storage may stay away before the one who waits gives up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
SLOW_S = 15.0
"""An answer that takes longer is worth a line."""
SHOWN = 200  # characters of an error; object stores write pages

Answer = TypeVar("Answer")


_tell: Callable[[str], None] = log.warning
"""Who hears of waits in this process: the log, until a driver wants to show them."""


@contextmanager
def told_to(tell: Callable[[str], None]) -> Iterator[None]:
    """While inside, lines about waiting go to `tell` (from any thread)."""
    global _tell
    before, _tell = _tell, tell
    try:
        yield
    finally:
        _tell = before


def patiently(
    act: Callable[[], Answer],
    what: str,
    patience_s: float = PATIENCE_S,
    *,
    watched: bool = True,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Return the answer of `act`, called again with growing pauses while its storage is unavailable.

    `what` says what is being done, for the lines; `watched`: also say so when the answer takes long. Raises
    what `act` raised last, when that is no fault that may pass, or after `patience_s` seconds.
    """
    began, pause, told = clock(), FIRST_PAUSE_S, False
    while True:
        try:
            with _noticed(what) if watched else nullcontext():
                answer = act()
        except OSError as error:
            waited = clock() - began
            fault = classify(error)
            transient = fault is not None and fault.kind is StorageFaultKind.UNAVAILABLE
            if fault is None or not transient or waited + pause > patience_s:
                error.waited_s = waited  # type: ignore[attr-defined]
                raise
            if not told:
                since = time.strftime("%H:%M:%S")
                limit = f"at most {patience_s:.0f} s"
                _tell(f"storage: cannot {what}, waiting since {since} ({limit}): {fault.message[:SHOWN]}")
                told = True
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            continue
        if told:
            _tell(f"storage: answers again after {clock() - began:.0f} s ({what})")
        return answer


@contextmanager
def _noticed(what: str) -> Iterator[None]:
    """Say so when this takes long, while it does."""
    since = time.strftime("%H:%M:%S")
    timer = threading.Timer(
        SLOW_S, lambda: _tell(f"storage slow: waiting since {since} ({what}, no answer yet)")
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a worker counts the threads that a trial leaves behind
