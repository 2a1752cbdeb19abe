"""A new study from an earlier one: the form of its file, filled with what differed then."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from served_site import Served, record_study, serve, write_files

from orchestrator.engine.sharing import Offer, StudyRegister, Want
from orchestrator.study.loading import load_study
from orchestrator.web.carried import carried, free_name
from orchestrator.web.form import form_of, overrides
from orchestrator.web.studyfiles import find_study_files

CONFIG = "configs/small.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("earlier")
    write_files(root)
    record_study(root)
    return root


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Served:
    return serve(shutil.copytree(folder, tmp_path, dirs_exist_ok=True))


def came_from(served: Served, name: str, file: Path, digest: str = "") -> None:
    """Record from which file a study came."""
    digest = digest or hashlib.sha256(file.read_bytes()).hexdigest()
    env = {"code_hash": "0" * 64, "study_file": {"path": str(file.resolve()), "sha256": digest}}
    (served.root / "runs" / name / "env.json").write_text(json.dumps(env))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["baseline.optim.lr=0.01", "seeds=3"],
        ["seeds=[3, 5]", "baseline.model.width=64"],
        ["components.kind=null"],
        ["components.kind.swap.mlp=null", "monitor=[throughput]", "loggers=[]"],
        ["stopping.rule=resolve", "stopping.max=9", "budget.wall=2h"],
    ],
)
def test_the_form_sends_what_differed_then(folder: Path, words: list[str]) -> None:
    """The settings of the command that began a study are those that begin one like it."""
    file, then = load_study(folder / CONFIG), load_study(folder / CONFIG, words)
    form = form_of(file.raw, [])
    found = carried(form, then.spec.to_dict(), file.spec.to_dict(), "small-2")
    every = {field.name: [field.value] for field in form.fields} | found.filled
    assert found.left == []
    sent = overrides(form, every)
    assert "name=small-2" in sent
    again = load_study(folder / CONFIG, sent).spec.to_dict()
    assert again == {**then.spec.to_dict(), "name": "small-2"}
    assert len(found.changed) >= bool(words)


def test_what_the_form_does_not_offer_is_told(folder: Path) -> None:
    file = load_study(folder / CONFIG)
    then: dict[str, Any] = load_study(
        folder / CONFIG, ["resources.priority=3", "storage=elsewhere"]
    ).spec.to_dict()
    then["components"]["other"] = {"without": {"model.width": 1}}
    then["components"]["batchnorm"]["without"] = {"model.width": 2}
    then["baseline"]["model"]["kind"] = "<b>rnn</b>"
    then["monitor"] = ["mine"]
    found = carried(form_of(file.raw, []), then, file.spec.to_dict(), "small-2")
    assert sorted(found.left) == [
        "baseline.model.kind: <b>rnn</b> there, cnn in the file",
        'component batchnorm: {"model.width": 2} there, {"model.batchnorm": false} in the file',
        "component other: not on this form",
        "monitor mine: not on this form",
        "resources.priority: 3 there, 0 in the file",
        "storage: elsewhere there, runs in the file",
    ]
    many = {**then, "baseline": {f"key{number}": "v" * 9000 for number in range(999)}}
    told = carried(form_of(file.raw, []), many, file.spec.to_dict(), "x").left
    assert len(told) == 21
    assert max(map(len, told)) < 500


def test_a_name_that_is_free() -> None:
    taken = {"digits", "digits-2", "digits-3"}
    for name in ("digits", "digits-2", "digits-3"):
        assert free_name(name, taken.__contains__) == "digits-4"
    assert free_name("<b>\x1b", taken.__contains__) == "study-2"
    assert len(free_name("x" * 64, {f"{'x' * 57}-2"}.__contains__)) <= 64


def test_the_page_of_a_study_leads_to_the_filled_form(served: Served) -> None:
    assert "/new?like=small" in served.client.get("/studies/small/").text
    text = (served.root / CONFIG).read_text()
    (served.root / CONFIG).write_text(
        text.replace("lr: 1e-3", "lr: 0.5").replace("name: small", "name: other")
    )
    came_from(served, "small", served.root / CONFIG, "0" * 64)
    page = served.client.get("/new?like=small").text
    assert 'name="name" value="small-2"' in page
    assert 'name="baseline.optim.lr" value="0.001"' in page
    assert "configs/small.yaml has changed since this study was begun" in page
    assert "<code>baseline.optim.lr</code>" in page
    assert 'value="kind=vit" checked' in page
    assert 'name="flag" value="fresh">' in page
    came_from(served, "small", served.root / CONFIG)
    assert "has changed since" not in serve(served.root).client.get("/new?like=small").text


def test_a_study_file_that_is_gone_is_said_with_the_command(served: Served) -> None:
    came_from(served, "small", served.root / "configs" / "bad.yaml")
    (served.root / "configs" / "bad.yaml").unlink()
    page = served.client.get("/new?like=small").text
    assert "is not among those that can be started here" in page
    assert "orchestrate ablate --config runs/small/study.yaml name=small-2</pre>" in page
    assert 'name="seeds"' not in page


def test_of_an_earlier_record_the_file_is_found_by_its_name(served: Served) -> None:
    assert {file.name for file in find_study_files(served.root)} == {"small"}
    page = served.client.get("/new?like=small").text  # bad.yaml has it too, and cannot be started
    assert "does not say from which file it came; configs/small.yaml has its name" in page
    (served.root / CONFIG).unlink()
    assert "none here has its name" in served.client.get("/new?like=small").text
    assert served.client.get("/new?like=none").status_code == 404


def test_a_study_is_queued_where_others_run(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"/new?config={CONFIG}"
    assert 'value="queue"' not in served.client.get(address).text
    with StudyRegister.here().claimed(Want("<i>first</i>", "/elsewhere/first", 1, 0), Offer(4), print):
        page = served.client.get(address).text
    assert '<button name="action" value="queue">' in page
    assert "On this machine now: &lt;i&gt;first&lt;/i&gt;" in page
    asked: list[tuple[str, ...]] = []
    started: list[tuple[str, ...]] = []

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    def launch(*words: str) -> str:
        started.append(words)
        return "20260101-000000-00000000"

    monkeypatch.setattr(served.site.children, "ask", ask)
    monkeypatch.setattr(served.site.children, "launch", launch)
    boxes = {"component": ["batchnorm", "kind=vit", "kind=mlp"], "monitor": "auto", "logger": "tensorboard"}
    for action, more in (("start", ()), ("queue", ("--queue",))):
        assert served.post("/new", action=action, config=CONFIG, **boxes).status_code == 303
        assert started[-1] == ("ablate", "--config", CONFIG, *more)
        assert asked[-1] == (*started[-1], "--dry-run")
    assert served.post("/new", action="validate", config=CONFIG, **boxes).status_code == 200
    assert len(started) == 2


@pytest.mark.slow
def test_the_filled_form_is_sent_as_it_is(served: Served) -> None:
    """What a browser sends of it are the words of a command that starts the same study under its new name."""
    page = served.client.get("/new?like=small").text
    assert re.search(r'name="seeds" value="([^"]*)"', unescape(page))
    answer = served.post(
        "/new",
        action="validate",
        config=CONFIG,
        name="small-2",
        component=["batchnorm", "kind=vit", "kind=mlp"],
        monitor="auto",
        logger="tensorboard",
    )
    assert "orchestrate ablate --config configs/small.yaml name=small-2" in answer.text
    assert "a new study" in answer.text
