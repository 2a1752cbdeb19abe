"""What a trial counts with, and what it lacks for that: in words that say what to report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.decide.probing import never_measured, wrong_unit
from orchestrator.decide.rungs import Passed, curve_rungs
from orchestrator.decide.scoring import Scoring, number
from orchestrator.decide.states import TrialState
from orchestrator.engine.attempts._said import ReportRefused, type_name
from orchestrator.study.spec import StoppingSpec, StudySpec


class Worth:
    """What one rank's reports are worth, from a checkpoint's `value` on.

    `selects`: the trial is a sample of a search, judged by the metric that selects; `value`: by that metric,
    as far as the trial got; `stale`: the last report did not have it; `unfit`: what is reported is not what
    the study file says of it; `passed`: what it would have counted with, had it ended at a rung.
    """

    def __init__(self, spec: StudySpec, value: float | None, *, selects: bool) -> None:
        metric, stopping = spec.metric, spec.stopping
        self.metric, self.value = metric, value
        self.passed = Passed(curve_rungs(stopping.grace, stopping.reduction, stopping.max))
        self._unit = "time_s" if stopping.unit == "seconds" else stopping.unit
        self.claims = metric.name if selects else metric.claimed
        self.stale = self.unfit = False
        self._scoring = Scoring(metric)
        self._keys: Sequence[str] = ()  # of the last report

    @property
    def beside(self) -> dict[str, float]:
        """The other metrics of the report that counts."""
        return self._scoring.beside

    @property
    def latest(self) -> float | None:
        """What the last report alone is worth, which tells the better one of two checkpoints."""
        return self.value if self._scoring.latest is None else self._scoring.latest

    @property
    def counts(self) -> bool:
        """Whether the last report is one that counts, as far as the trial got."""
        return self._scoring.counts

    def follow(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the reports that earlier attempts have made."""
        for row in rows:
            self._score(row, number(row.get(self._unit)))

    def take(self, row: Mapping[str, Any], length: float) -> None:
        """Take a report."""
        self._score(row, length)
        self.stale, self._keys = row.get(self.metric.name) is None, sorted(row)[:20]

    def _score(self, row: Mapping[str, Any], length: float | None) -> None:
        self._scoring.take(row)
        if length is not None:
            self.passed.take(length, self._scoring.claimed)
        if self._scoring.value is not None:
            self.value = self._scoring.value

    def at_end(self, state: TrialState) -> float | None:
        """Return what the trial counts with, having ended so."""
        claimed = state is TrialState.DONE and self.claims != self.metric.name
        return self._scoring.claimed if claimed else self.value

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Refuse a report without what is claimed where it may turn out the one that counts.

        Raises:
            ReportRefused: what is missing, or no number.
        """
        given = row.get(self.claims)
        if given is not None and number(given) is None:
            what = f"is {type_name(given)}, but it has to be a number"
            raise ReportRefused(f"{where}: {self.claims!r} {what}")
        counts = self.metric.at == "best" and row.get(self.metric.name) is not None
        if counts and given is None:
            raise ReportRefused(
                f"{where} has {self.metric.name!r}, but no {self.claims!r}: with metric.at: best any report "
                f"may be the one that counts, so that metric.test has to be in all of them. Report both, or "
                f"set metric.at: last and report {self.claims!r} of the best model at the end. "
                f"Reported keys: {sorted(row)[:20]}"
            )

    def in_doubt(self, index: int, length: float, stopping: StoppingSpec) -> str | None:
        """Say why a trial that has begun anew has nothing to compare, as its reports up to `index` show.

        Once that is said, `unfit` is set.
        """
        wrong = wrong_unit(stopping.unit, length, stopping.max) if index == 1 else None
        if wrong is None and self.value is None:
            share = length / stopping.max
            wrong = never_measured(self.metric.name, self._keys, reports=index, share=share)
        self.unfit = self.unfit or wrong is not None
        return wrong

    def lacking(self, who: str, index: int) -> str | None:
        """Why a trial at its end, in report `index`, has nothing that the study could compare; else None."""
        name, reported = self.metric.name, f"(the last report has {', '.join(self._keys) or 'none'})"
        if self.value is None:
            self.unfit = True
            return f"{who} never reported {name!r}; metric.name must be a key that it reports {reported}"
        if self.stale and self.metric.at == "last":
            return (
                f"{who} did not report {name!r} at its end, in report {index}; the value of an earlier one "
                f"({self.value:g}) is no final one: give {name!r} with the last report too"
            )
        if self.at_end(TrialState.DONE) is None:
            return (
                f"{who} did not report {self.claims!r} (metric.test) at its end; give it with the last "
                f"report, beside {name!r} {reported}"
            )
        return None
