"""What every page needs: the site that is served, its forms, and the answers that routes give."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from orchestrator.record.storage import Storage
from orchestrator.reporting.pagetemplate import page_template
from orchestrator.study.visible import MOST_SHOWN
from orchestrator.web.bodies import sent
from orchestrator.web.chartlibrary import library_name
from orchestrator.web.children import ChildAnswer, ChildProcesses, shown
from orchestrator.web.guard import Sessions
from orchestrator.web.kept import KeptStudies, KeptStudy
from orchestrator.web.news import News

MOST_BYTES = 256_000
MOST_FIELDS = 2000
"""Of a form that is sent."""
SEE_OTHER = 303
Filled = dict[str, list[str]]


@dataclass(frozen=True)
class Site:
    """What is served: study files below the directory of `children`, studies recorded in `storage`."""

    children: ChildProcesses
    storage: Storage
    sessions: Sessions
    host: str
    port: int

    @cached_property
    def studies(self) -> KeptStudies:
        """The recorded studies, each kept open once it was looked at."""
        return KeptStudies(self.storage)

    @cached_property
    def news(self) -> News:
        """What open pages are told."""
        return News()


async def read_form(request: Request) -> Filled:
    """Return the form that was sent, by name. Raises 403 without the session's word, 413 when too long."""
    text = (await sent(request, MOST_BYTES)).decode("utf-8", errors="replace")
    try:
        filled = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(413, f"the form has more than {MOST_FIELDS} fields") from None
    word = filled.pop("word", [""])[0]
    right = request.app.state.site.sessions.word(request.state.session)
    if not hmac.compare_digest(word.encode(), right.encode()):
        raise HTTPException(403, "the form is of another session: load the page again")
    return filled


Sent = Annotated[Filled, Depends(read_form)]


def show_page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Return a page with what every page needs, and the word of its forms."""
    site: Site = request.app.state.site
    session = request.state.session
    text = page_template(template, "orchestrator.web", MOST_SHOWN).render(
        word=site.sessions.word(session) if session else "",
        base=base_of(request),
        library=library_name(),
        root=str(site.children.root),
        storage=site.storage.uri,
        **values,
    )
    return HTMLResponse(text.encode(errors="backslashreplace"), code)


def show_unless_known(
    request: Request, told: object, template: str, values: Callable[[], dict[str, Any]]
) -> Response:
    """Return a page, or no more than that it is the one which the browser has. `told`: what it depends on."""
    tag = f'"{version_of(told)}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304)
    return show_page(request, template, tag=tag, **values())


def version_of(told: object) -> str:
    """Return a short name of what a page depends on: another one whenever that is another."""
    return sha256(repr(told).encode(errors="backslashreplace")).hexdigest()[:16]


def base_of(request: Request) -> str:
    """Return the path that the pages lie below, as the browser sees it."""
    return str(request.scope.get("root_path", ""))


def go_to(request: Request, path: str) -> Response:
    """Send the browser to another page after a form."""
    return RedirectResponse(f"{base_of(request)}{path}", SEE_OTHER)


def kept_study(site: Site, name: str) -> KeptStudy:
    """Return a recorded study. Raises 404 where there is none of this name."""
    kept = site.studies.named(name)
    if kept is None:
        raise HTTPException(404, "no study of this name is recorded here")
    return kept


def study_dir(site: Site, name: str) -> str:
    """Return the directory of a recorded study, as commands take it from any place."""
    return f"{site.storage.uri.rstrip('/')}/{kept_study(site, name).run.paths.root}"


def run_and_return(request: Request, site: Site, name: str, verb: str, *flags: str) -> Response:
    """Run a command on a study and go back to its page; what it refuses is shown."""
    words = [verb, study_dir(site, name), *flags]
    answer = site.children.ask(*words)
    if answer.returncode > 1:  # 1: the report is of an unfinished study
        return show_refusal(request, words, answer)
    return go_to(request, f"/studies/{quote(name)}/")


def show_refusal(request: Request, words: list[str], answer: ChildAnswer) -> Response:
    """Show why a command was refused."""
    return show_page(request, "problem.html.j2", 400, title=shown(words), lines=answer.stderr.splitlines())
