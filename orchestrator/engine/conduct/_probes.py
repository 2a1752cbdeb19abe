"""The first trials of a study are its probes: while their first reports are awaited, the others wait."""

from __future__ import annotations

from collections import defaultdict

from orchestrator.decide.probing import FEW, HOLD_S, Reports, asked, first_cells, still_open
from orchestrator.decide.seeds import ignores_seed
from orchestrator.engine.conduct._heard import Heard
from orchestrator.engine.conduct._runlog import RunLog
from orchestrator.engine.conduct._seedcheck import SeedCheck
from orchestrator.engine.conduct._trialqueue import TrialQueue
from orchestrator.engine.messages import TrialProgress
from orchestrator.errors import Fault
from orchestrator.study.spec import StudySpec


class Probes:
    """What the first reports are asked. Not thread-safe: the conductor's lock guards it.

    The reference's first two trials start, and one of every other arm; they are the study's own, so nothing
    of them is wasted. `wanted`: other trials wait for them.
    """

    def __init__(self, spec: StudySpec, log: RunLog, *, wanted: bool) -> None:
        self._spec, self._log, self._state = spec, log, log.record.state
        self._seeds = SeedCheck(spec, self._state)
        plan = self._state.plan
        self._asked, self._first = asked(plan), first_cells(plan)
        begun = any(self._state.cells[cell].value is not None for cell in self._asked)
        self._waits = wanted and spec.failures.stop_when == "first" and not begun
        self._curves: defaultdict[str, Heard] = defaultdict(lambda: Heard(FEW))
        self._told = False
        self._called_at: float | None = None
        alone = (cell for cell in plan.cells if cell.cell in self._first and cell.sample is None)
        self._compared = {
            cell.arm: cell for cell in alone if cell.arm != plan.reference and not self._acts_later(cell.arm)
        }

    def _acts_later(self, name: str) -> bool:
        arm = self._state.plan.arm(name)
        parts = arm.parts or ((arm.component,) if arm.component else ())
        return any(self._spec.components[part].acts_after is not None for part in parts)

    # ---- who waits --------------------------------------------------------------------------------------

    def holds(self, cell: str) -> bool:
        """Whether the trial waits for the first reports of others; says so the first time."""
        if not self._waits or cell in self._first:
            return False
        if not self._told:
            self._told = True
            self._log.note(f"the other trials wait for {self._awaited()} (--no-check: they do not)")
        return True

    def waits_for(self) -> str | None:
        """Return what trials wait for that could run; None: none does."""
        return self._awaited() if self._waits and self._told else None

    def asks(self, cell: str) -> bool:
        """Whether others wait for this trial's first reports."""
        return self._waits and cell in self._asked

    def called(self, cell: str, now: float) -> None:
        """Take in that a trial's code is called."""
        if cell in self._asked and self._called_at is None:
            self._called_at = now

    def look(self, queue: TrialQueue, now: float) -> None:
        """Let the others start once they need not wait any more."""
        if not self._waits:
            return
        under_way = [cell for cell in self._asked if queue.current(cell) is not None]
        if not under_way:
            self._waits = any(queue.waits(cell) for cell in self._asked)
            return
        rows = [self._curves[cell].rows for cell in under_way]
        if not still_open(self._spec.metric.name, rows, self._seeds_to_differ()):
            self._open(f"{self._spec.metric.name!r} is reported: the other trials start")
        elif self._called_at is not None and now - self._called_at >= HOLD_S:
            self._open(
                f"nothing to go by after {HOLD_S / 60:.0f} minutes: the other trials start all the same"
            )

    def _seeds_to_differ(self) -> list[Reports]:
        samples = any(self._state.plan.cell(cell).sample is not None for cell in self._asked)
        curves = [self._curves[cell] for cell in self._asked]
        if samples or self._spec.deterministic or not all(curve.known for curve in curves):
            return []
        return [curve.rows for curve in curves]

    def _open(self, words: str) -> None:
        self._waits = False
        if self._told:
            self._log.note(words)

    def _awaited(self) -> str:
        names = " and ".join(self._state.cells[cell].name for cell in self._asked)
        return f"the first reports of {names}"

    # ---- what they say ----------------------------------------------------------------------------------

    def take(self, event: TrialProgress) -> None:
        """Take in a trial's reports."""
        self._seeds.take(event)
        if event.cell in self._first:
            self._curves[event.cell].take(event.reports)
            self._compare(event.cell)

    def fault(self) -> Fault | None:
        """Return what is wrong with the entrypoint, once it is known: it ignores its seed."""
        return self._seeds.fault()

    def _compare(self, heard: str) -> None:
        """Name the arms whose first reports are the reference's of the same seed, each once.

        `heard`: the cell that has reported: its arm alone has news, or all where it is of the reference.
        """
        plan = self._state.plan
        known = {plan.cell(cell).seed: self._curves[cell] for cell in self._asked}
        alone = plan.cell(heard).arm
        arms = list(self._compared) if heard in self._asked else [alone] if alone in self._compared else []
        for arm in arms:
            cell = self._compared[arm]
            own, other = self._curves[cell.cell], known.get(cell.seed)
            if other is None or not (own.known and other.known):
                del self._compared[arm]
            elif len(own.rows) == len(other.rows) == FEW:
                del self._compared[arm]
                if ignores_seed(own.rows, other.rows):
                    self._log.note(
                        f"{arm} has reported the same as {plan.reference} so far, bit for bit ({FEW} "
                        f"reports, seed {cell.seed}): what it changes is not read by the code, or acts later"
                    )
