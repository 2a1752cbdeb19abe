"""The routes of the page that compares studies."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.study.visible import visible
from orchestrator.web.again import typed
from orchestrator.web.answers import Site, base_of, kept_study, show_page, show_unless_known
from orchestrator.web.children import shown
from orchestrator.web.comparefigure import curves_of, figure_of
from orchestrator.web.livepages import look_at_some, stream_of, who_runs
from orchestrator.web.sidebyside import FEWEST, MOST, Compared, compare_studies
from orchestrator.web.tables import MOST_LETTERS


def compare_pages(app: FastAPI, site: Site) -> None:
    """Add the page that has two to four studies side by side, and the figure on it."""

    @app.get("/compare")
    def compare(request: Request) -> Response:
        names, arm = _asked(request)
        if not FEWEST <= len(names) <= MOST:
            lines = [f"Tick two to four studies in the list: {len(names)} were ticked."]
            return show_page(request, "problem.html.j2", 400, title="Compare studies", lines=lines)
        studies = [Compared.of(name, kept_study(site, name)) for name in names]

        def values() -> dict[str, object]:
            look = compare_studies(studies, arm)
            figures = [
                (f"curves-{place}", _source(request, group, look["chosen"]), group)
                for place, group in enumerate(look["figures"])
            ]
            runs = [one.kept.run for one in studies]
            words = ["report", *(typed(run, run.paths.root, site.children.root) for run in runs)]
            command = shown(words) if len(runs) == FEWEST else ""
            events = f"{base_of(request)}/compare/events?{urlencode([('study', name) for name in names])}"
            return {"look": look, "figures": figures, "command": command, "events": events}

        return show_unless_known(request, (_versions(studies), arm), "compare.html.j2", values)

    @app.get("/compare/events")
    async def news(request: Request) -> Response:
        names, _ = _asked(request)
        if not FEWEST <= len(names) <= MOST:
            raise HTTPException(400, f"news of {FEWEST} to {MOST} studies")
        for name in names:
            await run_in_threadpool(kept_study, site, name)
        # a name of a study has no line break, nor any other sign that cannot be shown
        look, feel = lambda: look_at_some(site, names), lambda: who_runs(site, names)
        return stream_of(site, request, "\n".join(names), look, feel)

    @app.get("/compare/curves.json")
    def curves(request: Request) -> Response:
        names, arm = _asked(request)
        if not 1 <= len(names) <= MOST:
            raise HTTPException(400, f"curves of one to {MOST} studies")
        studies = [Compared.of(name, kept_study(site, name)) for name in names]
        tag = f'"{sha256(repr((_versions(studies), arm)).encode()).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        first = studies[0].found
        found = [line for place, one in enumerate(studies) for line in curves_of(one, place, arm)]
        return JSONResponse(figure_of(found, first.metric, first.unit), headers={"ETag": tag})


def _asked(request: Request) -> tuple[list[str], str]:
    """Return the studies and the arm that an address names. Raises 400 for what no form can send."""
    query = request.query_params
    names = list(dict.fromkeys(query.getlist("study")))
    if any(visible(name) != name for name in names):
        raise HTTPException(400, "a study whose name holds characters that cannot be shown is not compared")
    return names, query.get("arm", "")[:MOST_LETTERS]


def _versions(studies: Sequence[Compared]) -> list[tuple[str, int]]:
    """Return what the page depends on: which studies, and what was last seen of each."""
    return [(one.name, one.kept.version) for one in studies]


def _source(request: Request, names: list[str], arm: str) -> str:
    query = urlencode([*(("study", name) for name in names), ("arm", arm)], errors="replace")
    return f"{base_of(request)}/compare/curves.json?{query}"
