"""What goes on with a study from its page: now or after others, asked first where it costs something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from served_site import Served, record_study, serve, waiting, write_files

from orchestrator.engine.sharing import Offer, StudyRegister, Want
from orchestrator.web.livepages import LATER_S, SOON_S, look_at_one, who_runs

PLAN = "3 trials of 3 epochs"
DRIVER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from served_site import record_study
record = record_study(Path(sys.argv[1]), "busy")
print("runs", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    record_study(tmp_path)
    return serve(tmp_path)


@pytest.fixture
def started(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was launched. Nothing is: a dry run refuses nine seeds, and says what the others would do."""
    words_of: list[tuple[str, ...]] = []

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        assert words[-1] == "--dry-run"
        return subprocess.CompletedProcess(words, 2 if "seeds=9" in words else 0, PLAN, "error: the reason")

    def launch(*words: str) -> str:
        words_of.append(words)
        return "20260101-000000-00000000"

    monkeypatch.setattr(served.site.children, "ask", ask)
    monkeypatch.setattr(served.site.children, "launch", launch)
    return words_of


@contextmanager
def somebody_runs() -> Iterator[None]:
    """Another study of this user is on this machine."""
    with StudyRegister.here().claimed(Want("first", "/elsewhere/first", 1, 0), Offer(4), print):
        yield


def buttons(text: str) -> list[str]:
    return re.findall(r'<button name="action" value="([\w-]+)"', text)


@pytest.mark.parametrize("action", ["retry-failed", "extend"])
def test_what_costs_something_is_asked_first_with_its_plan(served: Served, started, action: str) -> None:
    page = served.client.get("/studies/small/").text
    form = next(form for form in page.split("<form")[1:] if f'value="{action}"' in form)
    assert 'method="post"' not in form.partition(">")[0]
    asked = served.client.get("/studies/small/again", params={"action": action, "seeds": "5"}).text
    words = {"retry-failed": "--retry-failed", "extend": "seeds=5 --extend"}[action]
    assert f"orchestrate ablate --config runs/small/study.yaml {words}</pre>" in asked
    assert PLAN in asked
    assert (buttons(asked), started) == ([action], [])
    assert served.post("/studies/small/again", action=action, seeds="5").status_code == 303
    assert started == [("ablate", "--config", "runs/small/study.yaml", *words.split())]


def test_what_would_be_refused_says_why_instead_of_asking(served: Served, started) -> None:
    refused = served.client.get("/studies/small/again", params={"action": "extend", "seeds": "9"})
    assert (refused.status_code, "the reason" in refused.text) == (400, True)
    assert (
        served.client.get("/studies/small/again", params={"action": "extend", "seeds": "["}).status_code
        == 400
    )
    for action in ("", "help", "queue-resume"):
        assert served.client.get("/studies/small/again", params={"action": action}).status_code == 409
    assert served.post("/studies/small/again", action="queue-help").status_code == 409
    assert started == []


def test_where_others_run_everything_can_wait_for_them(served: Served, started) -> None:
    assert "Queue" not in served.client.get("/studies/small/").text
    alone = look_at_one(served.site, "small")[0]
    cell = re.search(r'href="(retry\?cell=\w+)"', served.client.get("/studies/small/").text)
    assert cell is not None
    with somebody_runs():
        assert look_at_one(served.site, "small")[0] != alone  # open pages are told
        page = served.client.get("/studies/small/").text
        assert "On this machine now: first" in page
        assert buttons(page) == ["resume", "queue-resume", "retry-failed", "extend"]
        for action, seeds in (("retry-failed", ""), ("extend", "5")):
            asked = served.client.get("/studies/small/again", params={"action": action, "seeds": seeds}).text
            assert buttons(asked) == [action, f"queue-{action}"]
        one = served.client.get(f"/studies/small/{cell[1]}").text
        assert '<button name="queue" value="yes">' in one
    for action in ("queue-resume", "queue-retry-failed", "queue-extend"):
        assert served.post("/studies/small/again", action=action, seeds="5").status_code == 303
    cell_id = cell[1].partition("=")[2]
    assert served.post("/studies/small/retry", cell=cell_id, queue="yes").status_code == 303
    resumed = ("ablate", "--config", "runs/small/study.yaml")
    assert started[:3] == [
        (*resumed, "--queue"),
        (*resumed, "--retry-failed", "--queue"),
        (*resumed, "seeds=5", "--extend", "--queue"),
    ]
    assert (started[3][0], started[3][-1]) == ("retry", "--queue")


def test_a_study_that_waits_says_for_whom_and_is_not_begun_twice(served: Served, started) -> None:
    with waiting(served.root, "small"):
        page = served.client.get("/studies/small/").text
        assert f"<strong>waiting</strong> for first (process {os.getpid()})" in page
        assert f'{served.site.sessions.base}/waiting?study=small"' in page
        assert buttons(page) == []
        assert served.post("/studies/small/again", action="resume").status_code == 409
    assert buttons(served.client.get("/studies/small/").text)[0] == "resume"
    assert started == []


def test_arms_are_added_on_the_form_of_the_study_under_its_own_name(served: Served) -> None:
    page = served.client.get("/studies/small/").text
    assert "/new?extend=small" in page
    form = served.client.get("/new", params={"extend": "small"}).text
    assert re.search(r'<input name="name" value="small"', form)
    assert re.search(r'name="flag" value="extend" checked', form)
    assert not re.search(r'name="flag" value="(fresh|retry-failed)" checked', form)
    (served.root / "configs" / "small.yaml").unlink()
    gone = served.client.get("/new", params={"extend": "small"}).text
    assert "orchestrate ablate --config runs/small/study.yaml --extend</pre>" in gone


@pytest.mark.slow
def test_a_driver_that_was_killed_is_seen_at_the_next_look_and_resume_is_one_click(
    served: Served, started
) -> None:
    """Its process is looked for: no heartbeat has to go stale on its own host."""
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    words = [sys.executable, "-c", DRIVER, str(served.root), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert driver.stdin is not None
    assert driver.stdout is not None
    with driver.stdin, driver.stdout:
        assert driver.stdout.readline() == "runs\n"
        runs, pause_s = look_at_one(served.site, "busy")
        assert who_runs(served.site, ["busy", "small", "none"]) == [True, False, False]
        assert (pause_s, buttons(served.client.get("/studies/busy/").text)) == (SOON_S, [])
        assert SOON_S < LATER_S < 3
        driver.kill()
        os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)  # a zombie, as one that the page has started
        assert who_runs(served.site, ["busy"]) == [False]
        assert look_at_one(served.site, "busy")[0] != runs
        page = served.client.get("/studies/busy/").text
        assert "its driver is gone without a word" in page
        assert buttons(page)[0] == "resume"
        assert "<code>orchestrate ablate --config runs/busy/study.yaml</code>" in page
        assert served.post("/studies/busy/again", action="resume").status_code == 303
        assert started == [("ablate", "--config", "runs/busy/study.yaml")]
        driver.wait()
