"""What a study has of this machine through the Ray that was started for it, and takes when others leave."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Any

from orchestrator.engine.ray_private.machine import FoundHere, begin_node, confined
from orchestrator.engine.sharing import Claim, MachineShare, amount, named

log = logging.getLogger(__name__)


class MachinePart:
    """A claim, and the Ray that is kept to it: one node at first, one more for each time that it grows."""

    def __init__(self, found: FoundHere, claim: Claim, note: Callable[[str], None]) -> None:
        self._found, self._claim, self._note = found, claim, note
        got, offer = claim.got, claim.offer
        self._is_all = got.room == offer.cpus and (got.gpus == offer.gpus or not claim.want.gpus)
        self._could_use = 0
        self._asked, self._ends = Event(), Event()

    def variables(self) -> dict[str, str | None]:
        """Return those under which its Ray is started."""
        if self._is_all:
            return {}
        variables = confined(self._found, self._names(self._claim.got.gpus))
        if not self._claim.want.gpus:  # as without others: what its workers see is left alone
            del variables[self._found.visible]
        return variables

    def options(self) -> dict[str, Any]:
        """Return those of `ray.init`."""
        got = self._claim.got
        return {} if self._is_all else {"num_cpus": int(got.room), "num_gpus": len(got.gpus)}

    def could_use(self, groups: int) -> None:
        """Look whether others have left what the study could use; does not wait for it."""
        self._could_use = groups
        self._asked.set()

    @contextmanager
    def growing(self) -> Iterator[None]:
        """Let the study that runs in this context take what others leave."""
        if self._is_all:
            yield
            return
        thread = Thread(target=self._grow, name="orchestrator-growth", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ends.set()
            self._asked.set()
            thread.join()

    def _grow(self) -> None:
        """Take what is there, each time that somebody asks. Nodes end with the thread that began them."""
        with ExitStack() as nodes:
            while self._asked.wait() and not self._ends.is_set():
                self._asked.clear()
                had = self._claim.got
                more = self._claim.more(self._could_use)
                if more is None:
                    continue
                try:
                    nodes.callback(self._begin(more))
                except Exception as error:  # of Ray, in all kinds: the study goes on with what it has
                    log.exception("no second node")
                    self._claim.keep(had)
                    self._note(f"cannot use what others have left of this machine: {error}")
                    return

    def _begin(self, more: MachineShare) -> Callable[[], None]:
        variables = {}
        if more.gpus:  # Ray checks them against what this process may see, and that is what the study has
            seen = self._names(self._claim.got.gpus)
            os.environ[self._found.visible] = ",".join(seen)
            variables[self._found.visible] = ",".join(self._names(more.gpus))
        end = begin_node(math.ceil(more.cpus), len(more.gpus), variables)
        gpus = f" ({named(more.gpus)})" if more.gpus else ""
        self._note(f"takes what others have left of this machine: {amount(more.cpus, len(more.gpus))}{gpus}")
        return end

    def _names(self, gpus: tuple[str, ...]) -> list[str]:
        return [self._found.gpus[self._found.ids.index(one)] for one in gpus]
