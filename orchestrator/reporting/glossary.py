"""The words of a report, explained: those that the report at hand uses."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.decide.states import TrialState
from orchestrator.reporting import numbers, words
from orchestrator.reporting.model import StudyReport
from orchestrator.stats import results
from orchestrator.study.registered import RULES

Uses = Callable[[StudyReport], bool]


def _verdict(name: str) -> Uses:
    return lambda report: any(
        effect.verdict == name for one in report.evaluations for effect in one.all_effects
    )


def _flag(end: str) -> Uses:
    return lambda report: any(
        flag.endswith(end)
        for one in report.evaluations
        for effect in one.all_effects
        for flag in effect.flags
    )


def _tested(report: StudyReport) -> bool:
    return any(effect.p is not None for one in report.evaluations for effect in one.all_effects)


def _looked(action: str) -> Uses:
    return lambda report: any(look.action == action for one in report.evaluations for look in one.decisions)


def _always(_: StudyReport) -> bool:
    return True


_WORDS: tuple[tuple[str, str, Uses], ...] = (
    ("arm", "one configuration: {reference}, or {reference} with one change", _always),
    ("Δ", "the arm's value minus that of {reference} under the same seed, averaged over seeds",
     lambda report: not report.averaged),
    ("Δ", "what taking the component away does, averaged over all settings of the others",
     lambda report: report.averaged),
    ("pp", "percentage points: the difference of two percentages; from 91 % to 89 % is −2 pp",
     lambda report: report.scale.unit == "pp"),
    ("mean ± SD", "mean over the seeds of one arm, and the standard deviation between them: how much a "
     "single run varies, not how well the mean is known", lambda report: len(report.seeds) > 1),
    ("interval (CI)", "the values of Δ that go with the data: methods like this one catch the true Δ in "
     "{confidence} of studies. Each interval is its arm's own, not corrected for the number of arms",
     _tested),
    ("sequential interval", "an interval that holds although the data were looked at several times",
     lambda report: _tested(report) and RULES.get(report.rule).sequential),
    ("new seeds and new data", "an interval that allows for other samples of the same kind, besides "
     "other seeds",
     lambda report: any(one.new_data for one in report.evaluations)),
    ("on this validation set", "the difference is shown for the samples at hand; others might not show it",
     lambda report: any(words.here_only(one, e) for one in report.evaluations for e in one.all_effects)),
    ("n", "seeds that the effect is made of, of those planned", _always),
    ("p, Holm p", "how surprising the data would be if there were no effect; Holm's is corrected for "
     "asking about several arms at once, and at {alpha} or below the arm is resolved", _tested),
    ("moderated", "the spread between seeds is estimated from all arms together, because a few seeds of one "
     "arm say little about it",
     lambda report: any("moderated" in e.method for one in report.evaluations for e in one.all_effects)),
    ("resolved", "the study claims something: the chance of any false claim in it is at most {alpha}",
     _tested),
    ("hurts", "the change makes {metric} worse, beyond what seeds explain", _verdict(results.HURTS)),
    ("helps", "the change makes {metric} better, beyond what seeds explain", _verdict(results.HELPS)),
    ("different, size unclear", "there is an effect, but whether it is larger than the margin is open",
     _verdict(results.SIZE_UNCLEAR)),
    ("practically equivalent", "the effect is shown to be smaller than the margin, which is more than "
     "unresolved", _verdict(results.EQUIVALENT)),
    ("interacts", "taking both away differs from the sum of taking each away", _verdict(results.INTERACTS)),
    ("unresolved", "neither an effect nor its absence is shown: it may be there, more seeds would tell",
     _verdict(results.UNRESOLVED)),
    ("one seed: screened out", "the arm was given up after one seed, which showed little beside how much "
     "seeds of {reference} differ: nothing was tested, so there is no interval, and an effect may be there",
     _verdict(results.SCREENED)),
    ("fails", "every run of the arm failed: a finding, but no number", _verdict(results.FAILS)),
    ("no data", "no pair of runs has come to full length", _verdict(results.NO_DATA)),
    ("rung-only", "runs were stopped according to their results, so that nothing is claimed at full length",
     lambda report: report.tier == results.RUNG_ONLY),
    ("rung", "a training length at which runs are compared",
     lambda report: report.tier == results.RUNG_ONLY or bool(report.tuned)),
    ("deterministic", "seeds change nothing, so that there is no spread to judge an effect by",
     _verdict(results.DETERMINISTIC)),
    ("look", "a moment at which the arms were judged, after so many seeds",
     lambda report: bool(report.looks)),
    ("futile", "the arm was given up: its remaining seeds would hardly have resolved it", _looked("futile")),
    ("parked", "one seed showed little: the arm waits until no other one needs seeds, and comes back if more "
     "would probably resolve it", _looked("parked")),
    ("skipped", "a run that was not needed any more, because its arm was resolved or given up",
     lambda report: report.ledger.runs(TrialState.SKIPPED) > 0),
    ("noisy", "the arm varies more between seeds than the others, and is judged by its own spread",
     _flag("noisy")),
    ("conditional", "some runs failed or were stopped: Δ holds for the others only", _flag("conditional")),
    ("margin", "differences below it do not matter in practice; set before the first run",
     lambda report: report.margin is not None),
    ("retuned", "each arm with the winner of its own search, under seeds that the search has not seen",
     lambda report: bool(report.tuned)),
)  # fmt: skip


def glossary(report: StudyReport) -> list[tuple[str, str]]:
    """Return the words that this report uses, each with its meaning in a sentence without its full stop."""
    facts = {
        "reference": report.reference.arm,
        "metric": report.metric,
        "confidence": numbers.confidence(report),
        "alpha": f"{report.alpha:g}",
    }
    return [(word, meaning.format(**facts)) for word, meaning, used in _WORDS if used(report)]


def whole_glossary() -> dict[str, list[str]]:
    """Return every word that a report may use, with its meanings at the default level."""
    facts = {"reference": "the reference", "metric": "the metric", "confidence": "95 %", "alpha": "0.05"}
    found: dict[str, list[str]] = {}
    for word, meaning, _ in _WORDS:
        found.setdefault(word, []).append(meaning.format(**facts))
    return found
