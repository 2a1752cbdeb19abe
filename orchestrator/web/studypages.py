"""The routes of a recorded study: its page, its actions, its files."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.reporting.standing import StudyStanding
from orchestrator.web.again import command_of, offered, rests, seeds_of
from orchestrator.web.answers import (
    SEE_OTHER,
    Site,
    go_to,
    kept_study,
    read_form,
    run_and_return,
    show_page,
    show_unless_known,
    study_dir,
)
from orchestrator.web.beside import OnMachine, on_machine, place_of
from orchestrator.web.children import shown
from orchestrator.web.kept import KeptStudy
from orchestrator.web.looks import ASKED_OF_A_STUDY, look_at
from orchestrator.web.served import served
from orchestrator.web.tables import Asked


def around(site: Site, kept: KeptStudy, found: StudyStanding) -> dict[str, Any]:
    """Return what the page of a study offers: its TensorBoard, and the commands that go on with it.

    `busy`: studies on this machine that it could begin after; `waits`: for whom it waits already, if it does.
    """
    run, root = kept.run, site.children.root
    here = on_machine(place_of(run.storage, run.paths.root)) if rests(run, found) else OnMachine()

    actions = tuple(offered(run, found))

    def again() -> dict[str, Any]:
        seeds = seeds_of(run)
        more = {action: shown(command_of(run, root, action, seeds)) for action in actions}
        return {"more": more, "seeds": seeds}

    more = kept.once("again", (actions, kept.recorded.plan), again)
    if here.waits is not None:
        more = {**more, "more": {}}
    board = site.children.board(run.paths.root) is not None
    return {"board": board, "busy": here.others, "waits": here.waits, **more}


def study_pages(app: FastAPI, site: Site) -> None:
    """Add the page of each study with what can be done there."""

    @app.get("/studies/{name}/")
    def study(request: Request, name: str) -> Response:
        kept, asked = kept_study(site, name), Asked.of(request.query_params, *ASKED_OF_A_STUDY)
        written = shown(["report", study_dir(site, name), "--write"])
        more = {"name": name, "asked": asked, "written": written, **around(site, kept, kept.status())}
        told = (kept.version, kept.run.storage.exists(kept.run.paths.report_html), more)
        return show_unless_known(
            request, told, "study.html.j2", lambda: {"look": look_at(kept, asked), **more}
        )

    only_ours = [Depends(read_form)]  # the form holds nothing but the session's word

    @app.post("/studies/{name}/report", dependencies=only_ours)
    def write_report(request: Request, name: str) -> Response:
        return run_and_return(request, site, name, "report", "--write")

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


def _apart(site: Site, session: str, name: str, below: str) -> Response:
    """Send the browser to a file by way of a ticket, without telling the file from where."""
    answer = RedirectResponse(f"/{site.sessions.ticket(session, name)}{below}", SEE_OTHER)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
