"""A study under way and the faults that hit it by a schedule; drivers that end are started again.

One thread, which looks at everything a few times a second. A deadline here is no measure of anything: it
turns a study that stands still into a finding.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import ground
from ground import Nodes
from schedule import Fault, Home
from traces import CellName, Trace
from workbench import Bench, Running

LOOK_EVERY_S = 0.1
STANDS_STILL_S = 90.0
ENDS_WITHIN_S = 90.0
MOST_FINDINGS = 5
TAIL = 2_000  # characters of a driver's last words in a finding


@dataclass
class Struck:
    """A fault that was injected. `at`: seconds since 1970; `cells`: trials that were hit -> processes."""

    fault: Fault
    at: float
    cells: dict[CellName, int]
    survives: bool = False
    """The processes of the trials outlive it."""


@dataclass
class Later:
    """Something to do when `due` says so, or when too much time has passed. `late` is a finding then, if
    given.
    """

    due: Callable[[], bool]
    do: Callable[[], None]
    late: str | None = None
    until: float = field(default_factory=lambda: time.monotonic() + ENDS_WITHIN_S)
    at_end: bool = False
    """Also done when the study is through before."""


class Ordeal:
    """See the module's text.

    Args:
        study: a study of `restless` trials.
        epochs: of each trial.
        nodes: a cluster that is up.
        say: takes one line for people.
    """

    def __init__(
        self, study: Bench, trace: Trace, nodes: Nodes, epochs: int, say: Callable[[str], None]
    ) -> None:
        self.study, self.trace, self.nodes, self.epochs, self.say = study, trace, nodes, epochs, say
        self.home = self.next_home = Home.NODES
        self.struck: list[Struck] = []
        self.findings: list[str] = []
        self.later: list[Later] = []
        self.stopped: set[int] = set()
        self.others: list[Running] = []
        """Drivers beside the present one, which have to be refused."""
        self.allowed: set[int] = set()
        """Exit codes with which the present driver may end."""
        self.ends_by: float | None = None
        self.starts = 0
        self._grew = (0, time.monotonic())
        self._taken_up = False

    # ---- the loop ----------------------------------------------------------------------------------------

    def endure(self, schedule: Sequence[Fault], inject: Callable[[Ordeal, Fault], Struck | None]) -> None:
        """Run the study to its end under the faults. `inject` returns None where a fault has to wait for
        its victim.
        """
        due = list(schedule)
        self.start(Home.NODES)
        pause = threading.Event()
        while self.look():
            if due and self.trace.finished >= due[0].after:
                done = inject(self, due[0])
                if done is not None:
                    self.say(f"{due.pop(0)}  at {self.trace.finished}")
                    self.struck.append(done)
            pause.wait(LOOK_EVERY_S)
        if due:
            self.find(f"the study was through before {len(due)} faults had struck, {due[0]} first")
        self._let_the_late_ones_end()

    def look(self) -> bool:
        """See what has changed; False once the study is through."""
        self.trace.read()
        driver, code = self.driver, self.driver.process.poll()
        self._do_what_is_due()
        if self.driver is not driver:
            return True
        if code == 0:
            return False
        if code is not None:
            if code not in self.allowed:
                self.find(
                    f"the driver ended with {code}, start {self.starts} on {self.home}\n{self.last_words()}"
                )
            self.start(self.next_home)
        elif self.ends_by is not None and time.monotonic() > self.ends_by:
            self.find(f"the driver did not end within {ENDS_WITHIN_S:g} s\n{self.last_words()}")
            self.driver.kill()
            self.start(self.next_home)
        self.nodes.mend()
        self._watch_for_a_standstill()
        return True

    def start(self, home: Home) -> None:
        """The command, once more."""
        self.driver = self.command(home)
        self.home = self.next_home = home
        self.began = time.time()
        self.starts += 1
        self.allowed, self.ends_by, self._taken_up = set(), None, False
        self._plans = len(self.study.events("plan")) if self.starts > 1 else 0

    def command(self, home: Home) -> Running:
        """A driver under way."""
        where = ["--address", self.nodes.address] if home is Home.NODES else []
        return self.study.start("--no-check", *where)

    def find(self, what: str) -> None:
        """Something that must not be. A study with too many of them is not worth going on with."""
        self.findings.append(what)
        self.say(f"FINDING: {what}")
        if len(self.findings) >= MOST_FINDINGS:
            raise AssertionError("\n".join(self.findings))

    def last_words(self) -> str:
        """The end of what the driver said."""
        return self.driver.err[-TAIL:]

    def expect_end(self, *codes: int, home: Home) -> None:
        """The present driver is to end with one of these; the next one's home."""
        self.allowed |= set(codes)
        self.next_home = home
        self.ends_by = time.monotonic() + ENDS_WITHIN_S

    # ---- what there is to hit ----------------------------------------------------------------------------

    def taken_up(self) -> bool:
        """Whether the present driver has taken the study up, and is not about to end."""
        if not self._taken_up and self.trace.finished > 0:
            self._taken_up = len(self.study.events("plan")) > self._plans
        return self._taken_up and self.ends_by is None

    def contested(self) -> bool:
        """Whether another driver is not refused yet: if the present one died now, it would be right."""
        return any(other.process.poll() is None for other in self.others)

    def family(self) -> list[int]:
        """The processes of the present driver's Ray."""
        if self.home is Home.OWN:
            return ground.family(self.driver.process.pid)
        nodes = [self.nodes.head, *self.nodes.workers]
        return [pid for node in nodes if node is not None for pid in ground.family(node.pid)]

    def running(self) -> dict[CellName, int]:
        """Trials in their middle: the present driver's, with an epoch behind them and more than one to go."""
        alive = set(self.family()) - self.stopped
        found = {}
        for cell in sorted(self.trace.cells):
            last = self.trace.last(cell)
            middle = last.at > self.began and last.number < self.epochs - 1
            if middle and last.pid in alive and self.trace.doing(last.pid) == cell:
                found[cell] = last.pid
        return found

    def victim(self, fault: Fault) -> tuple[CellName, int] | None:
        """The trial that the fault hits."""
        running = list(self.running().items())
        return running[fault.lane % len(running)] if running else None

    def stop(self, pid: int) -> None:
        """SIGSTOP: neither dead nor alive."""
        ground.tell(pid, signal.SIGSTOP)
        self.stopped.add(pid)

    def wake(self, pid: int) -> None:
        """SIGCONT, if there is still somebody."""
        ground.tell(pid, signal.SIGCONT)
        self.stopped.discard(pid)

    # ---- what has to happen by itself --------------------------------------------------------------------

    def _do_what_is_due(self) -> None:
        for item in list(self.later):
            over = time.monotonic() > item.until
            if not over and not item.due():
                continue
            self.later.remove(item)
            if over and item.late is not None:
                self.find(f"{item.late}\n{self.last_words()}")
            item.do()

    def _watch_for_a_standstill(self) -> None:
        finished, since = self._grew
        if self.trace.finished > finished:
            self._grew = (self.trace.finished, time.monotonic())
        elif time.monotonic() - since > STANDS_STILL_S:
            there = "\n".join(
                f"{pid} {words[:110]}" for pid, (_, words) in sorted(ground.processes().items())
            )
            what = (f"no epoch for {STANDS_STILL_S:g} s on {self.home}", self.last_words(), there)
            self.find("\n".join((*what, self.nodes.state())))
            self._grew = (finished, time.monotonic())
            self.driver.kill()
            self.start(self.home)

    def _let_the_late_ones_end(self) -> None:
        """Whoever still sleeps wakes up, and does his worst, before the record is looked at."""
        for item in self.later:
            if item.at_end:
                item.do()
        for other in self.others:
            if other.process.poll() is None:
                other.kill()
        for pid in list(self.stopped):
            self.wake(pid)
        deadline = time.monotonic() + ENDS_WITHIN_S
        workers = {epoch.pid for epochs in self.trace.cells.values() for epoch in epochs}
        while workers & set(ground.processes()):
            if time.monotonic() > deadline:
                self.find(
                    f"workers outlive the study by {ENDS_WITHIN_S:g} s: {workers & set(ground.processes())}"
                )
                return
            time.sleep(LOOK_EVERY_S)
