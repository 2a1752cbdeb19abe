"""The routes of one trial: its page, its curves, its pictures."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.resources import files

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from orchestrator.errors import OrchestratorError
from orchestrator.web.answers import Site, kept_study, show_unless_known, version_of
from orchestrator.web.livepages import LATER_S, SOON_S, stream_of
from orchestrator.web.seentrial import SeenTrial, trial_of
from orchestrator.web.tables import Asked
from orchestrator.web.trial import ASKED_OF_A_TRIAL, depends_on, figure, look_at_trial, picture

_FOREVER = {"Cache-Control": "private, max-age=43200, immutable"}
"""What is at a place of an event file stays as it is."""


def trial_pages(app: FastAPI, site: Site) -> None:
    """Add the page of a trial, and what it fetches."""
    script = files("orchestrator.web").joinpath("static/tail.js").read_text(encoding="utf-8")

    @app.get("/static/tail.js")
    def follow_the_end() -> Response:
        return Response(script, media_type="text/javascript")

    @app.get("/studies/{name}/trial")
    def trial(request: Request, name: str, cell: str = "") -> Response:
        one, asked = seen(site, name, cell), Asked.of(request.query_params, *ASKED_OF_A_TRIAL)
        board = site.children.board(one.kept.run.paths.root) is not None
        told = (asked, board, depends_on(one, site.children.root))
        return show_unless_known(
            request,
            told,
            "trial.html.j2",
            lambda: {"study_dir": name, "runs_board": board, **look_at_trial(one, asked, site.children.root)},
        )

    @app.get("/studies/{name}/trial/events")
    async def events(request: Request, name: str, cell: str = "") -> Response:
        await run_in_threadpool(seen, site, name, cell)
        return stream_of(site, request, f"{name}/trial/{cell}", lambda: look_at_one_trial(site, name, cell))

    @app.get("/studies/{name}/trial/curves.json")
    def curves(request: Request, name: str, cell: str = "", of: str = "") -> Response:
        one = seen(site, name, cell)
        other = one.reference
        told = (of, one.tables, one.record.name, other and (other.tables, other.record.name))
        tag = f'"{sha256(repr(told).encode()).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        found = figure(one, of)
        if found is None:
            raise HTTPException(404, "the trial has reported no such number")
        text = json.dumps(found, allow_nan=False)
        return Response(text, media_type="application/json", headers={"ETag": tag})

    @app.get("/studies/{name}/trial/picture")
    def image(name: str, cell: str = "", file: str = "", at: str = "") -> Response:
        content = picture(seen(site, name, cell), file, at)
        if content is None:
            raise HTTPException(404, "there is no such picture, or it was hidden by a later attempt")
        return Response(content, media_type="image/png", headers=_FOREVER)


def seen(site: Site, name: str, cell: str) -> SeenTrial:
    """Return a trial. Raises 404 where the study has none of this identity."""
    found = trial_of(kept_study(site, name), cell)
    if found is None:
        raise HTTPException(404, "this study has no such trial: its page lists those that it has")
    return found


def look_at_one_trial(site: Site, name: str, cell: str) -> tuple[str, float]:
    """Return the version of what the page of a trial shows, and when to look again."""
    try:
        one = seen(site, name, cell)
        return version_of(depends_on(one, site.children.root)), SOON_S if one.found.driver else LATER_S
    except (HTTPException, OrchestratorError) as error:  # the page itself says so
        return version_of(str(error)), LATER_S
