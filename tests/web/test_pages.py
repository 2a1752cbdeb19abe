"""What the pages show of study files and recorded studies, and what they do not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served_site import Served, record_study, serve, write_files

from orchestrator.cli.app import main
from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.web.studyfiles import find_study_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    write_files(root)
    record_study(root)
    return root


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Served:
    return serve(shutil.copytree(folder, tmp_path, dirs_exist_ok=True))


def test_study_files_are_found_and_others_are_not(served: Served, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "foreign.yaml"
    outside.write_text((served.root / "configs" / "small.yaml").read_text())
    (served.root / "configs" / "linked.yaml").symlink_to(outside)
    os.mkfifo(served.root / "configs" / "pipe.yaml")
    assert [file.path for file in find_study_files(served.root)] == ["configs/bad.yaml", "configs/small.yaml"]


def test_the_form_of_a_study(served: Served) -> None:
    page = served.client.get("/new", params={"config": "configs/small.yaml"}).text
    assert 'name="baseline.model.width" value="32"' in page
    assert "<option selected>cnn</option>" in page
    assert 'value="kind=vit" checked' in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("config", ["../x.yaml", "/etc/passwd", "configs/cluster.yaml", "configs/none.yaml"])
def test_other_files_are_not_opened(served: Served, config: str) -> None:
    page = served.client.get("/new", params={"config": config}).text
    assert "no study file of this directory" in page
    assert 'method="post"' not in page


def test_a_study_file_with_a_fault_says_where(served: Served) -> None:
    page = served.client.get("/new", params={"config": "configs/bad.yaml"}).text
    assert "bad.yaml:10: seeds:" in page
    assert 'method="post"' not in page


def test_a_study_file_with_a_secret_does_not_show_it(served: Served) -> None:
    text = (served.root / "configs" / "small.yaml").read_text()
    secret = "ghp_" + "0123456789" * 3
    (served.root / "configs" / "secret.yaml").write_text(text.replace("kind: cnn", f"kind: {secret}"))
    page = served.client.get("/new", params={"config": "configs/secret.yaml"}).text
    assert "looks like a secret" in page
    assert secret not in page


def test_the_studies_and_where_they_stand(served: Served) -> None:
    page = served.client.get("/").text
    assert f'href="{served.site.sessions.base}/studies/small/"' in page
    assert "nobody runs it now" in page
    assert "1 failed" in page


def test_a_damaged_record_does_not_hide_the_others(served: Served) -> None:
    (served.root / "runs" / "broken").mkdir()
    (served.root / "runs" / "broken" / "plan.json").write_text("{")
    page = served.client.get("/").text
    assert "is damaged" in page
    assert f'href="{served.site.sessions.base}/studies/small/"' in page
    assert served.client.get("/studies/broken/").status_code == 400


def test_the_page_of_a_study(served: Served) -> None:
    page = served.client.get("/studies/small/").text
    assert "no-batchnorm seed 0: failed at 1 epoch" in page
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page
    assert "its driver is gone" in page
    assert "a note &amp; more" in page
    assert "baseline seed 0: done" in page


def test_effects_are_of_what_is_recorded_now_and_say_so(served: Served) -> None:
    effects = served.root / "runs" / "small" / "effects.json"
    effects.write_text('{"effects": [{"arm": "kind=vit", "delta": 99, "n": 7, "verdict": "hurts"}]}')
    assert "Effects" not in served.client.get("/studies/small/").text  # of nothing but a baseline
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(served.root, "busy")
    cell = next(one.cell for one in record.plan.cells if (one.arm, one.seed) == ("kind=vit", 0))
    end = TrialEnd(cell, "kind=vit", 0, 1, TrialState.DONE, None, None, 3.0, 0.75, wall_s=1.0, gpu_s=0.0)
    record.append(Assigned(cell, "kind=vit", 0, 1, "lane-0", None))
    record.append(end)
    record.sync()
    page = served.client.get("/studies/busy/").text
    record.close()
    assert "Effects so far" in page
    assert "these rest on 3 of 8 cells" in page
    row = page[page.index("<tr><th>kind=vit</th><td") :].partition("</tr>")[0]
    assert '<td class="r">0.5</td>' in row
    assert '<td class="r">1/2</td>' in row
    assert "not finished" in row


def test_a_study_that_nobody_runs_can_be_gone_on_with(served: Served, monkeypatch) -> None:
    """The command that a button shows is the one that it runs, once its dry run has not refused it."""
    page = served.client.get("/studies/small/").text
    command = "orchestrate ablate --config runs/small/study.yaml"
    shown = [
        line.split("<code>")[1].split("</code>")[0]
        for line in page.splitlines()
        if "<code>orchestrate" in line
    ]
    report = f"orchestrate report {served.root}/runs/small --write"
    assert shown == [report, command, f"{command} --retry-failed", f"{command} seeds=2 --extend"]
    asked: list[tuple[str, ...]] = []
    started: list[tuple[str, ...]] = []

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 2 if "seeds=9" in words else 0, "", "error: the reason")

    def launch(*words: str) -> str:
        started.append(words)
        return "20260101-000000-00000000"

    monkeypatch.setattr(served.site.children, "ask", ask)
    monkeypatch.setattr(served.site.children, "launch", launch)
    more = {"resume": [], "retry-failed": ["--retry-failed"], "extend": ["seeds=5", "--extend"]}
    for action, words in more.items():
        assert served.post("/studies/small/again", action=action, seeds="5").status_code == 303
        assert started[-1] == ("ablate", "--config", "runs/small/study.yaml", *words)
        assert asked[-1] == (*started[-1], "--dry-run")
    refused = served.post("/studies/small/again", action="extend", seeds="9")
    assert (refused.status_code, "the reason" in refused.text, len(started)) == (400, True, 3)
    for seeds in ("[", "ghp_" + "0123456789" * 3, "5\n--fresh"):
        assert served.post("/studies/small/again", action="extend", seeds=seeds).status_code == 400
    assert served.post("/studies/small/again", action="help").status_code == 409
    assert len(started) == 3


def test_one_cell_is_run_again_once_its_page_was_asked(served: Served, monkeypatch) -> None:
    """A link leads to what would run and what becomes of the trial; only its button starts something."""
    page = served.client.get("/studies/small/").text
    cells = {
        name: address
        for address, name in re.findall(r'href="(retry\?cell=\w+)" aria-label="Retry ([^"]+)"', page)
    }
    assert set(cells) == {"no-batchnorm seed 0", "baseline seed 0"}  # the others have not ended
    said = {name: served.client.get(f"/studies/small/{cells[name]}").text for name in cells}
    assert "It goes on from its last checkpoint" in said["no-batchnorm seed 0"]
    assert "It has its answer: it begins anew" in said["baseline seed 0"]
    assert "orchestrate retry runs/small no-batchnorm 0</pre>" in said["no-batchnorm seed 0"]
    started: list[tuple[str, ...]] = []

    def launch(*words: str) -> str:
        started.append(words)
        return "20260101-000000-00000000"

    monkeypatch.setattr(served.site.children, "launch", launch)
    for name, more in (("no-batchnorm seed 0", {}), ("baseline seed 0", {"accepts": "yes"})):
        cell = cells[name].partition("=")[2]
        assert served.post("/studies/small/retry", cell=cell, **more).status_code == 303
    assert started == [
        ("retry", "runs/small", "no-batchnorm", "0"),
        ("retry", "runs/small", "baseline", "0", "--accept-code-change"),
    ]
    pending = next(
        cell.cell for cell in served.site.studies.named("small").status().cells if cell.attempts == 0
    )
    for cell in (pending, "", "x", "../x", "--help"):
        assert served.client.get("/studies/small/retry", params={"cell": cell}).status_code == 409
        assert served.post("/studies/small/retry", cell=cell).status_code == 409
    assert served.client.post("/studies/small/retry", data={"cell": pending}).status_code == 403
    assert len(started) == 2


def test_no_cell_of_a_study_that_runs_is_run_again(served: Served) -> None:
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record = record_study(served.root, "busy")
    assert "retry?" not in served.client.get("/studies/busy/").text
    failed = next(cell for cell in record.state.cells.values() if cell.state is TrialState.FAILED)
    assert served.post("/studies/busy/retry", cell=failed.cell).status_code == 409
    record.close()
    assert f"retry?cell={failed.cell}" in served.client.get("/studies/busy/").text


def test_tables_are_sorted_and_searched_by_their_address(served: Served) -> None:
    def rows(address: str, table: str) -> list[str]:
        page = served.client.get(address).text
        part = page[page.index(f'id="{table}"') :].partition("<tbody>")[2].partition("</tbody>")[0]
        return re.findall(r"<th>(?:<a [^>]*>)?([^<]+)<", part)

    study = "/studies/small/"
    assert rows(study, "cells")[:3] == ["baseline seed 1", "no-batchnorm seed 0", "baseline seed 0"]
    assert rows(f"{study}?cells=-name", "cells")[0] == "no-batchnorm seed 1"
    assert rows(f"{study}?cells=value", "cells")[0] == "baseline seed 0"
    assert rows(f"{study}?state=failed", "cells") == ["no-batchnorm seed 0"]
    assert rows(f"{study}?arm=KIND&cells=-name", "cells")[-1] == "kind=mlp seed 0"
    assert rows(f"{study}?arms=-name", "arms") == ["no-batchnorm", "kind=vit", "kind=mlp", "baseline"]
    shutil.copytree(served.root / "runs" / "small", served.root / "runs" / "small-10")
    shutil.copytree(served.root / "runs" / "small", served.root / "runs" / "small-2")
    assert rows("/", "studies") == ["small", "small-2", "small-10"]
    assert rows("/?studies=-name", "studies") == ["small-10", "small-2", "small"]
    assert rows("/?study=10", "studies") == ["small-10"]
    page = served.client.get(f"{study}?cells=-value&state=x").text
    assert 'aria-sort="descending"><a id="cells-value" href="?state=x#cells-value"' in page


@pytest.mark.parametrize("name", [".hidden", "none", "a%2Fb", "..%2Fruns", "%00"])
def test_names_that_are_no_study(served: Served, name: str) -> None:
    assert served.client.get(f"/studies/{name}/").status_code in (404, 405)


def test_files_that_were_made_to_be_read(served: Served) -> None:
    answer = served.client.get("/studies/small/files/trials/no-batchnorm/seed-0/log.txt")
    assert answer.text == "loading\n"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "trials/" in served.client.get("/studies/small/files/").text
    assert "log.txt" in served.client.get("/studies/small/files/trials/no-batchnorm/seed-0").text


def test_files_that_are_not_shown(served: Served, tmp_path_factory) -> None:
    study = served.root / "runs" / "small"
    outside = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    outside.write_text("secret")
    (study / "link.txt").symlink_to(outside)
    (study / "way").symlink_to(outside.parent)
    (study / ".env.txt").write_text("secret")
    (study / "control" / "lease.txt").write_text("secret")
    (study / "inside.txt").symlink_to("control/lease.txt")
    (study / "trials" / "model.pt").write_bytes(b"secret")
    (study / "trials" / "checkpoints").mkdir()
    (study / "trials" / "checkpoints" / "manifest.json").write_text('"secret"')
    for path in (
        *(
            "link.txt",
            "inside.txt",
            "way/secret.txt",
            ".env.txt",
            "control/lease.txt",
            "trials/model.pt",
            "none.txt",
        ),
        *("trials/checkpoints/manifest.json", "..%2f..%2ftrial.py", "%2e%2e/other", "trials/%00.txt"),
    ):
        answer = served.client.get(f"/studies/small/files/{path}")
        assert answer.status_code == 404, path
        assert "secret" not in answer.text.replace(path, ""), path
    listed = served.client.get("/studies/small/files/").text
    assert "control" not in listed
    assert ".env" not in listed


def test_a_page_that_somebody_put_into_a_study_runs_apart(served: Served) -> None:
    (served.root / "runs" / "small" / "report.html").write_text("<script>fetch('/')</script>")
    policy = served.client.get("/studies/small/files/report.html").headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize("name", ["x", "..%2fx", "20260101-000000-00000000"])
def test_launches_that_there_are_not(served: Served, name: str) -> None:
    assert served.client.get(f"/launches/{name}").status_code == 404


def test_tensorboard_that_does_not_run(served: Served) -> None:
    assert served.client.get("/studies/small/tensorboard/").status_code == 404


def test_a_port_that_is_taken_is_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(tmp_path), "--port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen there" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "none")]) == 2


@pytest.mark.slow
def test_the_page_imports_neither_ray_nor_torch() -> None:
    script = (
        "import sys, orchestrator.web.app; "
        "print([name for name in ('ray', 'torch', 'tensorboardX') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_the_command_judges_and_its_words_are_shown(served: Served) -> None:
    untouched = {
        "component": ["batchnorm", "kind=vit", "kind=mlp"],
        "monitor": "auto",
        "logger": "tensorboard",
    }
    flags = {"flag": ["extend", "accept-code-change"]}
    fine = served.post(
        "/new", action="validate", config="configs/small.yaml", seeds="3", **flags, **untouched
    )
    assert fine.status_code == 200
    assert "4 arms × 3 seeds = 12 trials of 3 epochs" in fine.text
    assert "adds arms or seeds to the study that is recorded there" in fine.text
    words = "orchestrate ablate --config configs/small.yaml seeds=3 --extend --accept-code-change"
    assert words in fine.text
    unknown = served.post("/new", config="configs/small.yaml", **{**untouched, "flag": "help"})
    assert "no such choice" in unknown.text
    for action in ("validate", "start"):
        other = served.post("/new", action=action, config="configs/small.yaml", seeds="3", **untouched)
        assert other.status_code == 422
        assert "small is another study than the one on disk; use --extend" in other.text
    wrong = served.post("/new", action="start", config="configs/small.yaml", seeds="[0, 0]", **untouched)
    assert wrong.status_code == 422
    assert "names a seed twice" in wrong.text
    assert 'value="[0, 0]"' in wrong.text
    assert not (served.root / ".orchestrate").exists()
    nobody = served.post("/studies/small/stop")
    assert (nobody.status_code, nobody.headers["location"]) == (
        303,
        f"{served.site.sessions.base}/studies/small/",
    )


@pytest.mark.long
@pytest.mark.slow
def test_a_start_that_the_command_refuses_later_shows_why(served: Served) -> None:
    """The recorded study has another code hash."""
    where = f"/launches/{served.site.children.launch('ablate', '--config', 'configs/small.yaml')}"
    child = next(iter(served.site.children._launched.values()))
    assert child.wait(timeout=120) == 2
    page = served.client.get(where).text
    assert "ended with exit code 2" in page
    assert "--accept-code-change" in page
    assert f'href="{served.site.sessions.base}/studies/small/"' in page
    # another server over the same directory knows of it, but has not seen how it ended
    assert "its exit code is not known" in serve(served.root).client.get(where).text
    assert StudyPaths("small").root in page
