"""Tells people of a study that runs: what is worth a message, not too many of them, by one thread.

The study never waits for it but for some seconds at its end. What cannot be delivered is said once.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, cast

from orchestrator.api.delivery import NotDelivered, Target, targets_of
from orchestrator.reporting import notices
from orchestrator.reporting.notices import About, News, Notice
from orchestrator.study.notify import lacking_variables
from orchestrator.study.secrets import environment_secrets
from orchestrator.study.visible import visible

if TYPE_CHECKING:
    from orchestrator.api.study import Study
    from orchestrator.engine.running import StudyOutcome
    from orchestrator.record.events import Event, LookTaken
    from orchestrator.record.state import StudyState
    from orchestrator.record.studyrecord import StudyRecord
    from orchestrator.reporting.model import StudyReport
    from orchestrator.reporting.notices import FailedTrial
    from orchestrator.study.notify import Moment

log = logging.getLogger(__name__)

QUIET_S = 300.0
"""After a message about failures, or about looks, how long what follows of its kind is gathered."""
LEAVE_WITHIN_S = 30.0
"""How long the end of a run waits for its message: what is under way and the last one, to two targets."""


@dataclass
class Gathering:
    """News by kind, as they become messages: the first at once, those soon after it as one. Pure."""

    quiet_s: float = QUIET_S
    _waiting: dict[Moment, list[News]] = field(default_factory=dict)
    _since: dict[Moment, float] = field(default_factory=dict)

    def add(self, found: Sequence[tuple[Moment, News]]) -> None:
        """Take in what has happened."""
        for moment, news in found:
            self._waiting.setdefault(moment, []).append(news)

    def due(self, now: float) -> list[tuple[Moment, list[News]]]:
        """Return what may be said now, and is said with that."""
        kinds = [moment for moment in self._waiting if self._left_s(moment, now) <= 0]
        self._since |= dict.fromkeys(kinds, now)
        return [(moment, self._waiting.pop(moment)) for moment in kinds]

    def wait_s(self, now: float) -> float | None:
        """Return how long nothing becomes due by itself; None: for ever."""
        return min((max(0.0, self._left_s(moment, now)) for moment in self._waiting), default=None)

    def rest(self) -> list[tuple[Moment, list[News]]]:
        """Return what is still to be said when nothing more can happen."""
        rest, self._waiting = list(self._waiting.items()), {}
        return rest

    def _left_s(self, moment: Moment, now: float) -> float:
        since = self._since.get(moment)
        return 0.0 if since is None else since + self.quiet_s - now


def composed(about: About, moment: Moment, news: Sequence[News]) -> Notice:
    """Return the message about news of one kind."""
    if moment == "look":
        return notices.of_looks(about, cast("Sequence[LookTaken]", news))
    return notices.of_failures(about, cast("Sequence[FailedTrial]", news))


def about_study(study: Study) -> About:
    """Return what messages about a study say of it."""
    local = study.storage.is_local
    root = study.storage.path(study.paths.root) if local else study.recorded().root
    return About(study.name, root, visible(study.spec.metric.claimed), environment_secrets())


class Notifier:
    """The messages of one run, `with` whom it is entered; it says nothing where the study names nobody."""

    def __init__(self, study: Study) -> None:
        self._about, self._notify = about_study(study), study.spec.notify
        self._targets = targets_of(self._notify)
        self._gathering = Gathering()
        self._news: queue.SimpleQueue[list[tuple[Moment, News]] | Notice | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="orchestrator-notify", daemon=True)
        self._tell: Callable[[str], None] = _to_log
        self._said: set[str] = set()
        self._end: Notice | None = None

    @contextmanager
    def beside(self, record: StudyRecord, note: Callable[[str], None]) -> Iterator[None]:
        """Hear what is recorded while the block lasts; `note` is where troubles are told meanwhile."""
        if self._notify is None:
            yield
            return
        self._tell = note
        if lacks := lacking_variables(self._notify, os.environ):
            note(f"notify: nothing goes to the webhook, since {' and '.join(lacks)} is not set here")
            self._said |= {target.name for target in self._targets if target.name.startswith("webhook")}
        record.listeners.append(self._hear)
        self._thread.start()
        try:
            yield
        finally:
            self._tell = _to_log

    def ended(self, outcome: StudyOutcome, report: Callable[[], StudyReport]) -> None:
        """Take in how the run has ended; its report is asked for where somebody is told."""
        if self._thread.ident is None:
            return
        from orchestrator.reporting.headline import headline

        found = ""
        try:
            found = headline(report())
        except Exception:  # the message says less, and the run ends as it would
            log.warning("the message about the end goes without what was found", exc_info=True)
        self._end = notices.of_end(self._about, outcome.exit_code, outcome.counts, found, outcome.why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._thread.ident is None:  # no trial could run: who has typed the command sees why
            return
        end = self._end if error is None else notices.of_break(self._about, error)
        wanted = self._notify is not None and "end" in self._notify.on
        self._news.put(end if wanted else None)
        with suppress(KeyboardInterrupt):  # everything else is over
            self._thread.join(LEAVE_WITHIN_S)

    # ---- in the thread that writes the record ------------------------------------------------------------

    def _hear(self, happened: Sequence[Event], state: StudyState) -> None:
        assert self._notify is not None
        try:
            found = [news for event in happened if (news := notices.news_of(self._about, event, state))]
        except Exception:  # a bug of ours costs a message, and no study
            log.warning("a message about the study is lost", exc_info=True)
            return
        wanted = [news for news in found if news[0] in self._notify.on]
        if wanted:
            self._news.put(wanted)

    # ---- in the thread that sends ------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                came = self._news.get(timeout=self._gathering.wait_s(time.monotonic()))
            except queue.Empty:
                came = []
            if not isinstance(came, list):
                break
            self._gathering.add(came)
            self._deliver(*(composed(self._about, *due) for due in self._gathering.due(time.monotonic())))
        # the message about the end counts what was still to be said
        rest = (
            [came] if came is not None else [composed(self._about, *rest) for rest in self._gathering.rest()]
        )
        self._deliver(*rest)

    def _deliver(self, *told: Notice) -> None:
        for notice in told:
            for target, trouble in troubles(self._targets, notice):
                if target.name not in self._said:
                    self._said.add(target.name)
                    self._tell(f"notify: {target.name}: {trouble}; the study goes on, this is said once")


def troubles(targets: Sequence[Target], notice: Notice) -> Iterator[tuple[Target, str]]:
    """Deliver a message to all; yields those that it did not reach, each with why."""
    for target in targets:
        try:
            target.deliver(notice)
        except NotDelivered as error:
            yield target, str(error)
        except Exception as error:
            log.warning("a message about the study is lost", exc_info=True)
            yield target, type(error).__name__


def try_out(study: Study) -> list[tuple[str, str | None]]:
    """Send a test message to everyone whom a study names; returns each with why it did not arrive, if so."""
    targets = targets_of(study.spec.notify)
    failed = {target.name: why for target, why in troubles(targets, notices.of_test(about_study(study)))}
    return [(target.name, failed.get(target.name)) for target in targets]


def _to_log(text: str) -> None:
    log.warning("%s", text)
