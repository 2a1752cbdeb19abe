"""The routes of what is live: streams that tell open pages of something new, and the figures of a study."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from orchestrator.errors import OrchestratorError
from orchestrator.web.answers import Site, kept_study, version_of
from orchestrator.web.news import Feel, Look, event_stream
from orchestrator.web.studyfigures import DRAWINGS, drawn_once
from orchestrator.web.studylist import all_studies, said_of
from orchestrator.web.studypages import around
from orchestrator.web.tables import Asked

ASKED_OF_A_FIGURE = ("arm", "smooth", "log", "first")
SOON_S, LATER_S = 1.0, 2.0
"""Between two looks at a study that somebody runs, and at anything else."""


def live_pages(app: FastAPI, site: Site) -> None:
    """Add the streams of the list of studies and of each study, and the figures of a study."""

    @app.get("/events")
    async def of_all(request: Request) -> Response:
        return stream_of(site, request, "/", lambda: look_at_all(site))

    @app.get("/studies/{name}/events")
    async def of_one(request: Request, name: str) -> Response:
        await run_in_threadpool(kept_study, site, name)
        return stream_of(site, request, name, lambda: look_at_one(site, name), lambda: who_runs(site, [name]))

    def add(what: str) -> None:
        @app.get(f"/studies/{{name}}/{what}.json")
        def drawing(request: Request, name: str) -> Response:
            asked = Asked.of(request.query_params, *ASKED_OF_A_FIGURE)
            body, tag = drawn_once(kept_study(site, name), what, asked)
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304)
            return Response(body, media_type="application/json", headers={"ETag": tag})

    for what in DRAWINGS:
        add(what)


def stream_of(site: Site, request: Request, what: str, look: Look, feel: Feel | None = None) -> Response:
    """Return a stream that tells of what there is new, as long as the session of the request holds."""
    session = request.state.session
    return event_stream(site.news.told(what, look, lambda: site.sessions.holds(session), feel))


def look_at_one(site: Site, name: str) -> tuple[str, float]:
    """Return the version of what the page of a study shows, and when to look again."""
    try:
        kept = kept_study(site, name)
        found = kept.status()
        told = (kept.version, kept.run.storage.exists(kept.run.paths.report_html), around(site, kept, found))
        return version_of(told), SOON_S if found.driver else LATER_S
    except (HTTPException, OrchestratorError) as error:  # the page itself says so
        return version_of(str(error)), LATER_S


def who_runs(site: Site, names: Sequence[str]) -> list[bool]:
    """Return which studies are run now: a driver that ends or dies is worth a look before its turn."""
    return [kept is not None and kept.is_driven() for kept in map(site.studies.named, names)]


def look_at_some(site: Site, names: Sequence[str]) -> tuple[str, float]:
    """Return the version of what a page shows of several studies, and when to look again."""
    found = [look_at_one(site, name) for name in names]
    return version_of([version for version, _ in found]), min(pause for _, pause in found)


def look_at_all(site: Site) -> tuple[str, float]:
    """Return the version of the list of studies, and when to look again."""
    return version_of([said_of(line) for line in all_studies(site.studies)]), LATER_S
