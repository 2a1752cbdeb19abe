"""Where messages of a study go: a webhook, a command. Each delivery takes bounded time, or fails in words."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Protocol

from orchestrator.record.jsonlines import to_json
from orchestrator.reporting.notices import Notice
from orchestrator.study.notify import NotifySpec, address_of, lacking_variables, variables_of, words_for
from orchestrator.study.secrets import MASK, environment_secrets, masked
from orchestrator.study.visible import gist, visible

WITHIN_S = 10.0
"""How long a server may be silent, and a command run."""
_LAST_WORDS = 4_000  # bytes of what a command that failed has said
_OF_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class NotDelivered(Exception):
    """A message did not arrive; the text says why, without anything that is secret."""


class Target(Protocol):
    """Where messages go. `name`: as the study file has it."""

    name: str

    def deliver(self, notice: Notice) -> None:
        """Deliver a message. Raises NotDelivered."""


def targets_of(notify: NotifySpec | None, within_s: float = WITHIN_S) -> tuple[Target, ...]:
    """Return where the messages of a study go."""
    if notify is None:
        return ()
    return (
        *(() if notify.webhook is None else (Webhook(notify, within_s=within_s),)),
        *(() if notify.command is None else (Command(notify.command, within_s=within_s),)),
    )


@dataclass(frozen=True)
class Webhook:
    """A URL that gets messages by POST, with the text as Slack wants it: without its markup."""

    notify: NotifySpec
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    within_s: float = WITHIN_S

    @property
    def name(self) -> str:
        """The URL, its variables not filled in."""
        return f"webhook {self.notify.webhook}"

    def deliver(self, notice: Notice) -> None:
        """Post a message."""
        if lacks := lacking_variables(self.notify, self.environment):
            raise NotDelivered(f"{' and '.join(lacks)} is not set where the study is driven")
        address = address_of(self.notify.webhook or "", self.environment)
        if address is None:
            raise NotDelivered("with its variables filled in it is no http:// or https:// URL")
        document = notice.document() | {"text": notice.text.translate(_OF_MARKUP)}
        kind = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "orchestrate"}
        try:
            request = urllib.request.Request(address, to_json(document), kind)  # noqa: S310 - seen
            straight = urllib.request.build_opener(_NoRedirect)  # with the proxies that the environment names
            with straight.open(request, timeout=self.within_s):
                return
        except urllib.error.HTTPError as error:
            with error:
                raise NotDelivered(self._said(f"it answers {error.code} {error.reason}")) from None
        except TimeoutError:
            raise NotDelivered(self._late()) from None
        except urllib.error.URLError as error:
            late = isinstance(error.reason, TimeoutError)
            words = self._late() if late else self._said(f"it cannot be reached: {error.reason}")
            raise NotDelivered(words) from None
        except (OSError, ValueError, HTTPException) as error:  # its text may hold the URL
            raise NotDelivered(f"it cannot be reached: {type(error).__name__}") from None

    def _late(self) -> str:
        return f"it does not answer within {self.within_s:g} s"

    def _said(self, text: str) -> str:
        return _plain(text, [self.environment[name] for name in variables_of(self.notify.webhook)])


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message goes where the study file says, and nowhere else: a redirect is an answer like others."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, code, msg, headers, newurl


@dataclass(frozen=True)
class Command:
    """A program that gets messages on stdin and in its environment."""

    command: str | tuple[str, ...]
    within_s: float = WITHIN_S

    @property
    def name(self) -> str:
        """The command as the study file has it."""
        return f"command {self.command if isinstance(self.command, str) else ' '.join(self.command)}"

    def deliver(self, notice: Notice) -> None:
        """Run the program with a message."""
        words = words_for(self.command, notice.event, str(notice.facts.get("study", "")))
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(to_json(notice.document()) + b"\n")
            given.seek(0)
            try:
                running = subprocess.Popen(
                    words,
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={**os.environ, **dict(variables(notice))},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise NotDelivered(f"it cannot be started: {getattr(error, 'strerror', error)}") from None
            try:
                code = running.wait(self.within_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                    os.killpg(running.pid, signal.SIGKILL)
                    running.wait(1.0)
                raise NotDelivered(f"it was ended, since it took longer than {self.within_s:g} s") from None
            if code:
                raise NotDelivered(f"it ended with exit code {code}{_last_line(said)}")


def variables(notice: Notice) -> Iterator[tuple[str, str]]:
    """Yield the variables in which a command finds what is plain in a message."""
    for key, value in notice.document().items():
        if isinstance(value, str | int | float):
            yield f"ORCHESTRATE_{key.upper()}", str(value)


def _last_line(said: Any) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _LAST_WORDS))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return f": {_plain(lines[-1])}" if lines else ""


def _plain(text: str, known: list[str] | None = None) -> str:
    for value in sorted(known or (), key=len, reverse=True):
        text = text.replace(value, MASK) if value else text
    return visible(gist(masked(text, environment_secrets())))
