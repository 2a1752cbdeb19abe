"""The routes of the list of studies, and of what asks before it ends one that runs or waits."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import Response

from orchestrator.engine.sharing import StudyQueue
from orchestrator.study.visible import visible
from orchestrator.web.answers import (
    Sent,
    Site,
    go_to,
    kept_study,
    read_form,
    run_and_return,
    show_page,
    show_refusal,
    show_unless_known,
    study_dir,
)
from orchestrator.web.children import shown
from orchestrator.web.studylist import ASKED_OF_STUDIES, STATES, list_studies, said_of
from orchestrator.web.tables import Asked


def list_pages(app: FastAPI, site: Site) -> None:
    """Add the list of studies, and the pages that ask before a study is stopped or waits no longer."""

    @app.get("/")
    def studies(request: Request) -> Response:
        asked = Asked.of(request.query_params, *ASKED_OF_STUDIES)
        part = list_studies(site.studies, asked)
        told = (asked, part.all, [said_of(line) for line in part.rows])
        values = {"studies": part, "asked": asked, "states": STATES}
        return show_unless_known(request, told, "studies.html.j2", lambda: values)

    @app.get("/studies/{name}/stop")
    def ask_to_stop(request: Request, name: str) -> Response:
        if kept_study(site, name).status().driver is None:
            raise HTTPException(409, "nobody runs this study now: load its page again")
        lines = (
            "Trials that run leave at their next report, with their checkpoint: nothing is lost, and "
            "Resume goes on.",
        )
        return _ask(
            request,
            title=f"Stop {name}",
            lines=lines,
            command=shown(["stop", study_dir(site, name)]),
            where=f"/studies/{quote(name)}/stop",
            button="Stop this study",
            back=f"/studies/{quote(name)}/",
        )

    @app.post("/studies/{name}/stop", dependencies=[Depends(read_form)])
    def stop(request: Request, name: str) -> Response:
        return run_and_return(request, site, name, "stop")

    @app.get("/waiting")
    def ask_to_cancel(request: Request, study: str = "") -> Response:
        ahead = _waits_for(site, study)
        return _ask(
            request,
            title=f"Let {study} wait no longer",
            lines=(f"It waits for {', '.join(ahead)} to end. Nothing of it has begun, and nothing will.",),
            command=shown(["stop", _place(site, study)]),
            where="/waiting",
            fields={"study": study},
            button="Take it out of the queue",
            back="/",
        )

    @app.post("/waiting")
    def cancel(request: Request, filled: Sent) -> Response:
        study = filled.get("study", [""])[0]
        _waits_for(site, study)
        words = ["stop", _place(site, study)]
        answer = site.children.ask(*words)
        return show_refusal(request, words, answer) if answer.returncode else go_to(request, "/")


def _ask(
    request: Request,
    *,
    title: str,
    lines: tuple[str, ...],
    command: str,
    where: str,
    button: str,
    back: str,
    fields: dict[str, str] | None = None,
) -> Response:
    """Show what a button would do, and the command that it runs, before anything is done."""
    return show_page(
        request,
        "ask.html.j2",
        title=title,
        lines=lines,
        command=command,
        where=where,
        fields=fields or {},
        button=button,
        back=back,
    )


def _waits_for(site: Site, study: str) -> list[str]:
    """Return for whom a study waits. Raises 409 where it does not wait here."""
    place = _place(site, study)
    found = [ahead for one, ahead in StudyQueue.here().waiting() if one.root == place]
    if not found:
        raise HTTPException(409, "this study does not wait now: load the list again")
    return found[0]


def _place(site: Site, study: str) -> str:
    """Return the directory that a study of this storage has, or would have. Raises 404 for other names."""
    odd = not study or "/" in study or study in (".", "..") or visible(study) != study
    if odd or not site.storage.is_local:
        raise HTTPException(404, "no study of this name waits here")
    return site.storage.path(study)
