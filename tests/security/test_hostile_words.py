"""What a trial says that is hostile: on the page of its study, and when the same command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mutations import HOST
from scene import Scene

from orchestrator.engine.inprocess import report
from orchestrator.errors import ExitCode
from orchestrator.web.answers import Site
from orchestrator.web.app import make_app
from orchestrator.web.children import ChildProcesses
from orchestrator.web.guard import Sessions


def hostile(config: dict[str, Any]) -> None:
    report({"epoch": 1, "loss": config["seed"] + 1.0, "caf\udce9": "\x1b[2J"})
    raise ValueError("cannot identify caf\udce9.png \x1b[2J\0\u202e <script>alert(1)</script>")


@pytest.mark.slow
def test_hostile_words_of_a_trial_act_on_no_page_and_stop_no_later_run(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert scene.run(function=hostile) is ExitCode.FAILED
    site = Site(ChildProcesses(tmp_path), scene.storage, Sessions("t"), "127.0.0.1", 8765)
    client = TestClient(make_app(site), base_url=f"http://{HOST}{site.sessions.base}")
    client.get("/", params={"token": "t"})
    answer = client.get(f"/studies/{scene.paths.root}/")
    assert answer.status_code == 200
    assert r"cannot identify caf\udce9.png \x1b[2J\x00" in answer.text
    assert "&lt;script&gt;alert" in answer.text
    for acts in ("\x1b", "\0", "\u202e", "<script>alert"):
        assert acts not in answer.text
    assert scene.run(start={"retry_failed": True}, retry_failed=True) is ExitCode.DONE
    assert {row["attempts"] for row in scene.cells()} == {2}
