"""The routes of a recorded study: its page, its actions, its files."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.record.state import TrialRecord
from orchestrator.reporting.standing import StudyStanding
from orchestrator.web.again import command_of, offered, retriable, retry_of, seeds_of
from orchestrator.web.answers import (
    SEE_OTHER,
    Sent,
    Site,
    go_to,
    kept_study,
    read_form,
    run_and_return,
    show_page,
    show_refusal,
    show_unless_known,
)
from orchestrator.web.children import shown
from orchestrator.web.kept import KeptStudy
from orchestrator.web.looks import ASKED_OF_A_STUDY, look_at
from orchestrator.web.served import served
from orchestrator.web.tables import Asked


def around(site: Site, kept: KeptStudy, found: StudyStanding) -> dict[str, Any]:
    """Return what the page of a study offers: its TensorBoard, and the commands that go on with it."""
    run, root = kept.run, site.children.root

    def again() -> dict[str, Any]:
        actions, seeds = offered(run, found), seeds_of(run)
        more = {action: shown(command_of(run, root, action, seeds)) for action in actions}
        return {"more": more, "seeds": seeds}

    return {"board": site.children.board(run.paths.root) is not None, **kept.once("again", found, again)}


def study_pages(app: FastAPI, site: Site) -> None:
    """Add the page of each study with what can be done there."""

    @app.get("/studies/{name}/")
    def study(request: Request, name: str) -> Response:
        kept, asked = kept_study(site, name), Asked.of(request.query_params, *ASKED_OF_A_STUDY)
        more = {"name": name, "asked": asked, **around(site, kept, kept.status())}
        told = (kept.version, kept.run.storage.exists(kept.run.paths.report_html), more)
        return show_unless_known(
            request, told, "study.html.j2", lambda: {"look": look_at(kept, asked), **more}
        )

    only_ours = [Depends(read_form)]  # the form holds nothing but the session's word

    @app.post("/studies/{name}/report", dependencies=only_ours)
    def write_report(request: Request, name: str) -> Response:
        return run_and_return(request, site, name, "report", "--write")

    @app.post("/studies/{name}/again")
    def again(request: Request, name: str, filled: Sent) -> Response:
        run = kept_study(site, name).run
        action = filled.get("action", [""])[0]
        if action not in offered(run, run.status()):
            raise HTTPException(409, "this cannot be done with the study now: load its page again")
        words = command_of(run, site.children.root, action, filled.get("seeds", [""])[0])
        answer = site.children.ask(*words, "--dry-run")
        if answer.returncode:
            return show_refusal(request, words, answer)
        return go_to(request, f"/launches/{site.children.launch(*words)}")

    @app.get("/studies/{name}/files/{path:path}")
    def file(request: Request, name: str, path: str) -> Response:
        run = kept_study(site, name).run
        found = served(run, path)
        if found is None:
            raise HTTPException(404, "no such file, or one that is not shown")
        below = f"/studies/{quote(name)}/files/{quote(path)}"
        if isinstance(found, Response):
            return _apart(site, request.state.session, name, below) if request.state.session else found
        if path and not path.endswith("/"):
            return go_to(request, f"{below}/")
        return show_page(request, "folder.html.j2", name=name, path=path, entries=found)


def retry_pages(app: FastAPI, site: Site) -> None:
    """Add the pages that ask before a trial is run again."""

    def found(name: str, cell: str) -> tuple[KeptStudy, TrialRecord]:
        kept = kept_study(site, name)
        there = retriable(kept.run, kept.status())
        if cell not in there:
            raise HTTPException(409, "this cell cannot be run again now: load the page of its study again")
        return kept, there[cell]

    @app.get("/studies/{name}/retry")
    def ask(request: Request, name: str, cell: str = "") -> Response:
        kept, trial = found(name, cell)
        command = shown(retry_of(kept.run, site.children.root, trial, accepts=False))
        return show_page(request, "retry.html.j2", name=name, cell=trial, command=command)

    @app.post("/studies/{name}/retry")
    def retry(request: Request, name: str, filled: Sent) -> Response:
        kept, trial = found(name, filled.get("cell", [""])[0])
        words = retry_of(kept.run, site.children.root, trial, accepts="accepts" in filled)
        return go_to(request, f"/launches/{site.children.launch(*words)}")


def _apart(site: Site, session: str, name: str, below: str) -> Response:
    """Send the browser to a file by way of a ticket, without telling the file from where."""
    answer = RedirectResponse(f"/{site.sessions.ticket(session, name)}{below}", SEE_OTHER)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
