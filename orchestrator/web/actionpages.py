"""The routes of what goes on with a recorded study: resume, retry, extend; now, or after those that run."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response

from orchestrator.record.state import TrialRecord
from orchestrator.web.again import LABELS, command_of, queued, retriable, retry_of
from orchestrator.web.answers import Sent, Site, go_to, kept_study, show_page, show_refusal
from orchestrator.web.beside import on_machine, place_of
from orchestrator.web.children import shown
from orchestrator.web.kept import KeptStudy
from orchestrator.web.studypages import around


def action_pages(app: FastAPI, site: Site) -> None:
    """Add what resumes a study, runs its failures again, extends it, and asks before what costs something."""

    def going_on(name: str, action: str, seeds: str) -> list[str]:
        kept = kept_study(site, name)
        if action not in around(site, kept, kept.status())["more"]:
            raise HTTPException(409, "this cannot be done with the study now: load its page again")
        return command_of(kept.run, site.children.root, action, seeds)

    @app.post("/studies/{name}/again")
    def again(request: Request, name: str, filled: Sent) -> Response:
        action, waits = queued(filled.get("action", [""])[0])
        words = going_on(name, action, filled.get("seeds", [""])[0])
        words += ["--queue"] if waits else []
        answer = site.children.ask(*words, "--dry-run")
        if answer.returncode:
            return show_refusal(request, words, answer)
        return go_to(request, f"/launches/{site.children.launch(*words)}")

    @app.get("/studies/{name}/again")
    def ask_first(request: Request, name: str, action: str = "", seeds: str = "") -> Response:
        words, kept = going_on(name, action, seeds), kept_study(site, name)
        answer = site.children.ask(*words, "--dry-run")
        if answer.returncode:
            return show_refusal(request, words, answer)
        return show_page(
            request,
            "again.html.j2",
            name=name,
            action=action,
            label=LABELS[action],
            seeds=seeds,
            plan=answer.stdout,
            command=shown(words),
            busy=on_machine(place_of(kept.run.storage, kept.run.paths.root)).others,
        )


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
        busy = on_machine(place_of(kept.run.storage, kept.run.paths.root)).others
        return show_page(request, "retry.html.j2", name=name, cell=trial, command=command, busy=busy)

    @app.post("/studies/{name}/retry")
    def retry(request: Request, name: str, filled: Sent) -> Response:
        kept, trial = found(name, filled.get("cell", [""])[0])
        words = retry_of(kept.run, site.children.root, trial, accepts="accepts" in filled)
        words += ["--queue"] if "queue" in filled else []
        return go_to(request, f"/launches/{site.children.launch(*words)}")
