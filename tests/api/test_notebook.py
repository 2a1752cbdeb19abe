"""`docs/notebook.ipynb`: it runs from its first cell to its last, and is committed with what it showed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from orchestrator.api.progress import NotebookTable, shown

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
LIMIT_S = 600


def shown_by(notebook: Any) -> list[str]:
    """The HTML, text and kinds of pictures of all cells."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            found += [str(data[kind]) for kind in ("text/html", "text/plain") if kind in data]
            found += [kind for kind in data if kind.startswith("image/")]
            found.append(str(output.get("text", "")))
    return found


def check(notebook: Any) -> None:
    """What every run of it has to show."""
    assert not [output for cell in notebook.cells for output in cell.get("outputs", ()) if "ename" in output]
    everything = "\n".join(shown_by(notebook))
    for words in (
        "no-normalise",
        "4 arms × 4 seeds = 16 trials",
        "16/16 cells answered",
        "image/png",
        "done: 16|16 done",
    ):
        assert re.search(words, everything), words
    assert "hurts" in everything


def test_what_is_committed_is_a_whole_run() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    check(notebook)
    assert "/home/" not in NOTEBOOK.read_text()
    assert "/work/" not in NOTEBOOK.read_text()
    assert "/tmp/" not in NOTEBOOK.read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_it_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    check(notebook)


def test_a_table_for_a_notebook_only_where_one_is() -> None:
    with shown("auto") as listener:
        assert not isinstance(listener, NotebookTable)
