"""Plotly's script: served once, kept by the browser, and without a style of its own in the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from served_site import Served, record_study, serve, write_files


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    record_study(tmp_path)
    return serve(tmp_path)


def library(page: str) -> str:
    """The address of the script, as a page has it, below that of the pages."""
    place = next(part.split('"')[0] for part in page.split('src="') if ".min.js" in part)
    return place[place.index("/static/") :]


def test_plotly_is_served_once_and_kept(served: Served) -> None:
    page = served.client.get("/studies/small/").text
    assert "min.js" not in served.client.get("/").text
    place = library(page)
    plain = served.client.get(place, headers={"accept-encoding": "identity"})
    packed = served.client.get(place, headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.text == plain.text
    assert int(packed.headers["content-length"]) < 2_000_000
    assert "immutable" in packed.headers["cache-control"]
    assert "no-store" in served.client.get("/").headers["cache-control"]


def test_plotly_puts_no_style_into_the_page(served: Served) -> None:
    """It looks for two ids, and the page has both: so the policy forbids styles of the page's own."""
    page = served.client.get("/studies/small/")
    assert "unsafe" not in page.headers["content-security-policy"]
    script = served.client.get(library(page.text)).text
    assert script.count('createElement("style")') == 2
    assert '"plotly.js-style-"+' in script
    assert '.matches(".no-inline-styles")' in script
    assert 'id="plotly.js-style-global" class="no-inline-styles"' in page.text
    maps = re.findall(r'getElementById\("([0-9a-f]{64})"\)', script)
    assert f'<script id="{maps[0]}"' in page.text
