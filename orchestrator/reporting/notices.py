"""What is told of a study while nobody looks: an event of the record becomes a short message.

Pure functions over plain data; who is told, and when, is `api.notifying`'s. What trials have written is
masked, its signs that act or hide are escaped, and it is cut.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState
from orchestrator.errors import ExitCode, InputError, OrchestratorError
from orchestrator.record.events import LookTaken, TrialEnd
from orchestrator.reporting import plain
from orchestrator.study.naming import cell_name
from orchestrator.study.secrets import masked
from orchestrator.study.visible import gist, shortened, visible

if TYPE_CHECKING:
    from orchestrator.record.events import Event
    from orchestrator.record.state import StudyState
    from orchestrator.study.notify import Moment

MOST_NAMED = 5
"""Trials or arms that a text names."""
MOST_LISTED = 100
"""Trials or arms among the facts of a message."""
_DECIDED = {
    "different": "different",
    "equivalent": "practically equivalent",
    "futile": "given up, more seeds would hardly resolve it",
    "last look": "unresolved after all its seeds",
    "budget spent": "unresolved, the seeds are spent",
    "screened out": "screened out after one seed",
}
"""What a look may decide about an arm, in words; the others leave it open."""
_ENDED = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "ended with failures",
    ExitCode.BAD_INPUT: "stopped, the study file does not fit",
    ExitCode.BUDGET: "the budget is reached",
    ExitCode.UNAVAILABLE: "stopped, something it needs does not answer",
    ExitCode.INTERRUPTED: "stopped on request",
    ExitCode.TERMINATED: "terminated",
}
_GO_ON = "the same command goes on"


@dataclass(frozen=True)
class Notice:
    """One message. `event`: what it is about; `text`: for people; `facts`: the same for programs."""

    event: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return what is sent."""
        return {"text": self.text, "event": self.event, **self.facts}


@dataclass(frozen=True)
class About:
    """The study that messages are about. `root`: its directory; `metric`: what effects are differences of.

    `secrets`: values that are masked in what trials have written.
    """

    study: str
    root: str
    metric: str
    secrets: tuple[str, ...] = ()

    def notice(self, event: str, text: str, **facts: Any) -> Notice:
        """Return a message about it."""
        said = shortened(visible(" ".join(f"{self.study}: {text}".split())))
        return Notice(event, said, {"study": self.study, "root": self.root, **facts})

    def command(self, *words: object) -> str:
        """Return a command about it."""
        return shlex.join(["orchestrate", *map(str, words)])

    def said(self, text: str) -> str:
        """Return what somebody else has written as a message may hold it."""
        return visible(gist(masked(text, self.secrets)))


@dataclass(frozen=True)
class FailedTrial:
    """A trial that has failed and is not tried again by itself."""

    name: str
    arm: str
    seed: int
    sample: int | None
    cause: str | None
    reason: str


News = FailedTrial | LookTaken


def news_of(about: About, event: Event, state: StudyState) -> tuple[Moment, News] | None:
    """Return what is worth a message in an event that `state` has taken in, and the moment that it is."""
    match event:
        case TrialEnd(state=TrialState.FAILED):
            record = state.cells[event.cell]
            name = cell_name(event.arm, event.seed, record.phase, record.sample)
            reason = about.said(event.reason or "unknown")
            return "failure", FailedTrial(name, event.arm, event.seed, record.sample, event.cause, reason)
        case LookTaken() if event.action in _DECIDED:
            return "look", event
    return None


def of_failures(about: About, failed: Sequence[FailedTrial]) -> Notice:
    """Return the message about trials that have failed since the one before."""
    first = failed[0]
    if len(failed) == 1:
        sample = [] if first.sample is None else ["--sample", first.sample]
        next_ = about.command("logs", first.arm, first.seed, *sample, "--study", about.root)
        cause = f" ({first.cause})" if first.cause else ""
        text = f"{first.name} failed{cause}: {first.reason}."
    else:
        next_ = about.command("status", about.root)
        text = f"{len(failed)} trials failed: {_listed(one.name for one in failed)}. "
        text += f"The first: {first.reason}."
    return about.notice(
        "failure",
        f"{text} Next: {next_}",
        failed=len(failed),
        trials=[vars(one) for one in failed[:MOST_LISTED]],
        next=next_,
    )


def of_looks(about: About, looks: Sequence[LookTaken]) -> Notice:
    """Return the message about arms that looks have decided about since the one before."""
    next_ = about.command("report", about.root)
    words = [_decided(about, look) for look in looks]
    more = [f"and {len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []
    text = f"a look has decided: {'; '.join([*words[:MOST_NAMED], *more])}. Next: {next_}"
    arms = [
        {
            name: getattr(look, name)
            for name in ("arm", "phase", "number", "n", "action", "delta", "lo", "hi", "p")
        }
        for look in looks[:MOST_LISTED]
    ]
    return about.notice("look", text, metric=about.metric, arms=arms, next=next_)


def _decided(about: About, look: LookTaken) -> str:
    phase = "" if look.phase == "fixed" else f" ({look.phase})"
    effect = ""
    if look.delta is not None:
        ends = "" if look.lo is None or look.hi is None else f" [{_signed(look.lo)}, {_signed(look.hi)}]"
        effect = f", Δ {about.metric} {_signed(look.delta)}{ends}"
    seeds = f"after {look.number} seed{'' if look.number == 1 else 's'}"
    words = "all its runs failed" if look.action == "futile" and look.delta is None else None
    return f"{look.arm}{phase} {words or _DECIDED[look.action]}{effect} {seeds}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{plain.number(value)}"


def of_end(
    about: About, code: ExitCode, counts: Mapping[str, int], headline: str, why: Sequence[str] = ()
) -> Notice:
    """Return the message about the end of a run.

    Args:
        about: the study.
        code: how it ended.
        counts: trials per state.
        headline: the line of its report that says what was found; empty where nothing was.
        why: the failure that has stopped it, in lines; the first one is told.
    """
    answered = sum(number for state, number in counts.items() if TrialState(state).answered)
    failed = counts.get(TrialState.FAILED, 0)
    lost = f", {failed} failed" if failed else ""
    trials = f"{answered} of {sum(counts.values())} trials answered{lost}"
    open_ = code in (ExitCode.BUDGET, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
    next_ = about.command("report" if code is ExitCode.DONE else "status", about.root)
    stopped, found = about.said(why[0]).rstrip(".") if why else "", visible(headline)
    parts = [
        f"{_ENDED[code]}: {trials}.",
        *([f"{stopped}."] if stopped else []),
        *([found] if found else []),
        f"Next: {next_}{f'; {_GO_ON}' if open_ else ''}",
    ]
    return about.notice(
        "end",
        " ".join(parts),
        exit_code=int(code),
        outcome=code.name.lower(),
        counts=dict(counts),
        headline=found,
        stopped_by=stopped or None,
        next=next_,
    )


def of_break(about: About, error: BaseException) -> Notice:
    """Return the message about a run that an error has ended: its report is not there."""
    code = _code_of(error)
    said = about.said(str(error)).rstrip(".") or type(error).__name__
    told = f"{_ENDED[code]}." if isinstance(error, KeyboardInterrupt | SystemExit) else f"stopped: {said}."
    next_ = about.command("status", about.root)
    goes_on = "" if isinstance(error, InputError) else f"; {_GO_ON}"  # else something has to be mended first
    return about.notice(
        "end",
        f"{told} Next: {next_}{goes_on}",
        exit_code=int(code),
        outcome=code.name.lower(),
        stopped_by=said,
        next=next_,
    )


def _code_of(error: BaseException) -> ExitCode:
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, SystemExit):
        return ExitCode.TERMINATED
    return error.exit_code if isinstance(error, OrchestratorError) else ExitCode.FAILED


def of_test(about: About) -> Notice:
    """Return a message that says of itself that it is none."""
    return about.notice("test", "a test: messages of this study arrive here")


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"{', '.join(known[:MOST_NAMED])}{more}"
