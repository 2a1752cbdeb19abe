"""Plotly's script as a file of ours. The Python package brings it, and is never imported."""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

FOR_EVER = "public, max-age=31536000, immutable"
"""The address holds the version: what is behind it never changes."""


@cache
def library_name() -> str:
    """Return the name of the script below `static/`."""
    return f"plotly-{version('plotly')}.min.js"


def chart_library(app: FastAPI) -> None:
    """Add the route of the script, compressed for browsers that take it."""

    @app.get(f"/static/{library_name()}")
    def plotly(request: Request) -> Response:
        headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
            return Response(_compressed(), media_type="text/javascript", headers=headers)
        return Response(_script().read_bytes(), media_type="text/javascript", headers=headers)


def _script() -> Path:
    found = importlib.util.find_spec("plotly")
    assert found is not None, "`serve` has looked for what the extra [web] brings"
    assert found.origin is not None
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


@cache
def _compressed() -> bytes:
    return gzip.compress(_script().read_bytes(), mtime=0)


def _takes_gzip(accepted: str) -> bool:
    words = {word.replace(" ", "").lower() for word in accepted.split(",")}
    return any(word.partition(";")[0] == "gzip" and not word.endswith(";q=0") for word in words)
