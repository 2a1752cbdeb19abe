"""The server's application: its routes, put together, behind its guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException as AnyHttpException

from orchestrator.errors import InputError, OrchestratorError
from orchestrator.reporting.palette import STATES
from orchestrator.web import board
from orchestrator.web.actionpages import action_pages, retry_pages
from orchestrator.web.answers import Site, go_to, read_form, show_page, study_dir
from orchestrator.web.chartlibrary import chart_library
from orchestrator.web.comparepages import compare_pages
from orchestrator.web.guard import Guard, page
from orchestrator.web.listpages import list_pages
from orchestrator.web.livepages import live_pages
from orchestrator.web.newstudy import new_study_pages
from orchestrator.web.studypages import study_pages
from orchestrator.web.trialpages import trial_pages


def make_app(site: Site) -> Guard:
    """Return the server's application, behind its guard."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        site.children.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.state.site = site
    _static(app)
    _errors(app)
    new_study_pages(app, site)
    list_pages(app, site)
    compare_pages(app, site)
    study_pages(app, site)
    trial_pages(app, site)
    action_pages(app, site)
    retry_pages(app, site)
    live_pages(app, site)
    _tensorboard(app, site)
    _leaving(app, site)
    return Guard(app, site.sessions, site.host, site.port)


def _static(app: FastAPI) -> None:
    ours = files("orchestrator.web").joinpath("static")
    report = files("orchestrator.reporting").joinpath("templates/report.css").read_text(encoding="utf-8")
    style = f"{report}\n{ours.joinpath('page.css').read_text(encoding='utf-8')}"
    style += "".join(f".{state} {{ --state: {colour}; }}\n" for state, colour in STATES.items())
    found = {"page.css": style} | {
        name: ours.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.js", "charts.css", "charts.js")
    }

    def add(name: str, text: str) -> None:
        kind = "text/css" if name.endswith(".css") else "text/javascript"

        @app.get(f"/static/{name}")
        def static() -> Response:
            return Response(text, media_type=kind)

    for name, text in found.items():
        add(name, text)
    chart_library(app)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(OrchestratorError)
    def orchestrator_error(request: Request, error: OrchestratorError) -> Response:
        lines = [str(fault) for fault in error.faults] if isinstance(error, InputError) else [str(error)]
        return show_page(request, "problem.html.j2", 400, title="This cannot be done", lines=lines)

    @app.exception_handler(AnyHttpException)
    def http_error(request: Request, error: AnyHttpException) -> Response:
        lines = [str(error.detail)]
        return show_page(request, "problem.html.j2", error.status_code, title="No", lines=lines)


def _tensorboard(app: FastAPI, site: Site) -> None:
    @app.post("/studies/{name}/tensorboard", dependencies=[Depends(read_form)])
    def open_board(request: Request, name: str) -> Response:
        site.children.open_board(name, study_dir(site, name))
        return go_to(request, f"/studies/{quote(name)}/tensorboard/")

    @app.api_route("/studies/{name}/tensorboard/{path:path}", methods=["GET", "POST"])
    async def through(request: Request, name: str, path: str) -> Response:
        port = site.children.board(name)
        if port is None:
            raise HTTPException(404, "TensorBoard does not run; the study's page starts it")
        answer = await board.pass_on(request, port, path)
        if answer is not None:
            return answer
        if path:
            return PlainTextResponse("TensorBoard is starting", 503)
        return show_page(request, "starting.html.j2", 503, name=name)


def _leaving(app: FastAPI, site: Site) -> None:
    @app.get("/leave")
    def ask(request: Request) -> Response:
        return show_page(request, "leave.html.j2")

    @app.post("/leave", dependencies=[Depends(read_form)])
    def leave(request: Request) -> Response:
        site.sessions.end(request.state.session)
        return page("The session has ended. The printed address, with its token, begins another.", 200)
