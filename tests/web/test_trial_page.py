"""The page of one trial: what it shows, what it costs, and what hostile trials make of it."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_trial import ARM, begin_trial, cell_of, end_trial, paths_of, row
from served_site import Served, record_study, serve, write_files
from test_hostile_study import TEXTS, Tags, inert

from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Decided, TrialEnd
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.record.triallog import TrialLog
from orchestrator.study.changes import MISSING, leaves
from orchestrator.study.secrets import MASK
from orchestrator.study.visible import visible
from orchestrator.web import livepages, trialpages
from orchestrator.web.trialconfig import config_difference, shown_setting

pytestmark = pytest.mark.slow

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    write_files(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    return serve(tmp_path)


@pytest.fixture
def record(served: Served) -> Any:
    """Of a study that runs, with one trial in its second attempt."""
    found = record_study(served.root, "busy")
    begin_trial(found)
    yield found
    found.close()


def page(served: Served, cell: str, study: str = "busy", **asked: str) -> str:
    answer = served.client.get(f"/studies/{study}/trial", params={"cell": cell, **asked})
    assert answer.status_code == 200
    return answer.text


def row_of(text: str, head: str) -> list[str]:
    """The cells of the row with this head."""
    found = re.search(rf"<tr><th[^>]*>{re.escape(head)}</th>(.*?)</tr>", text)
    assert found is not None, head
    return re.findall(r"<td[^>]*>(.*?)</td>", found[1])


def scalars(text: str) -> str:
    return text[text.index("the scalars in words") :]


def test_what_it_is_and_where_it_stands(served: Served, record: StudyRecord) -> None:
    text = page(served, cell_of(record))
    assert "<h1>kind=vit seed 0</h1>" in text
    assert row_of(text, "length") == ["– of 3"]
    assert "<strong>running</strong>" in text
    assert f'next: <a href="trial?cell={cell_of(record, seed=1)}">kind=vit seed 1</a>' in text
    assert "previous:" not in text
    assert 'href="files/trials/kind%3Dvit/seed-0/"' in text
    assert "Retry" not in text  # somebody runs the study
    end_trial(record, cell_of(record))
    text = page(served, cell_of(record))
    assert "<strong>done</strong>" in text
    assert row_of(text, "loss")[-1] == "1.25"
    assert (row_of(text, "time"), row_of(text, "GPU time")) == (["1m 00s"], ["30s"])


def test_one_that_has_ended_can_be_run_again(served: Served) -> None:
    record = record_study(served.root)
    cell = cell_of(record, "no-batchnorm")
    text = page(served, cell, "small")
    assert "<strong>failed</strong>: user: &lt;img src=x&gt;</p>" in text
    assert f'<a class="button" href="retry?cell={cell}">Retry</a>' in text
    assert "<code>orchestrate retry runs/small no-batchnorm 0</code>" in text
    assert "Retry" not in page(served, cell_of(record), "small")


def test_what_it_leads_to(served: Served, record: StudyRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page(served, cell_of(record))
    assert 'action="' + served.site.sessions.base + '/studies/busy/tensorboard"' in text
    script = re.search(r'src="[^"]*(/static/tail.js)"', text)
    assert script is not None
    assert served.client.get(script[1]).status_code == 200
    monkeypatch.setattr(served.site.children, "board", lambda study: 6006)
    run = quote(r"^kind=vit/seed\-0$")
    assert f'href="tensorboard/?runFilter={run}#timeseries"' in page(served, cell_of(record))


def test_the_study_leads_to_its_trials(served: Served, record: StudyRecord) -> None:
    text = served.client.get("/studies/busy/").text
    assert f'title="kind=vit seed 0: running" href="trial?cell={cell_of(record)}"' in text
    waiting = cell_of(record, "kind=mlp", 1)
    assert f'<a href="trial?cell={waiting}">kind=mlp seed 1</a>' in text
    assert "It has not begun" in page(served, waiting)


def test_why_a_rule_has_ended_it(served: Served, record: StudyRecord) -> None:
    cell = cell_of(record)
    stop = Decided(cell, "stop", TrialState.STOPPED, "asha", 1, -2.5, 3, 4, "too far behind", ARM, 2, 1)
    record.append(stop)
    record.append(TrialEnd(cell, ARM, 0, 2, TrialState.STOPPED, None, "too far behind", 1.0, 3.0, 1.0, 0.0))
    record.sync()
    assert "<strong>stopped</strong>: asha, rung 1, cut-off 2.5, rank 3 of 4</p>" in page(served, cell)


def test_its_attempts(served: Served, record: StudyRecord) -> None:
    text = page(served, cell_of(record))
    first, second = row_of(text, "1"), row_of(text, "2")
    assert first[2:] == [
        "failed, to be tried again",
        "lane-1 · node-7 · CPU",
        "the beginning",
        "infra: the node went away",
    ]
    assert second[1:] == ["", "no end is recorded", "lane-2 · CPU", "step 10", ""]


def test_its_checkpoints_are_those_of_the_attempt_that_has_it(served: Served, record: StudyRecord) -> None:
    text = page(served, cell_of(record))
    assert row_of(text, "step-00000010") == ["1 epoch", "10", "1", "2.0 KiB", "newest, best"]
    assert "step-00000020" not in text


def figure(served: Served, cell: str, of: str) -> dict[str, Any]:
    text = page(served, cell)
    source = re.search(rf'data-figure="([^"]+)" aria-label="{of}"', text)
    assert source is not None
    answer = served.client.get("/studies/busy/" + source[1].replace("&amp;", "&"))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_its_curves_beside_those_of_the_reference(served: Served, record: StudyRecord) -> None:
    log = TrialLog(record.storage, paths_of(record, "baseline"), 1, loggers=())
    log.report(row(1, 2.5, 1))
    log.close()
    cell = cell_of(record)
    found = figure(served, cell, "loss")
    own, reference = found["data"]
    assert (own["name"], own["x"], own["y"]) == ("kind=vit seed 0", [1.0, 2.0], [3.0, 1.5])
    assert (reference["name"], reference["x"], reference["y"]) == ("baseline seed 0", [1.0], [2.5])
    assert (own["line"]["dash"], reference["line"]["dash"]) == ("solid", "dash")
    assert own["line"]["color"] != reference["line"]["color"]
    assert [one["text"] for one in found["layout"]["annotations"]] == ["attempt 2"]
    assert found["layout"]["shapes"][0]["x0"] == 1.0
    assert len(figure(served, cell_of(record, "baseline"), "loss")["data"]) == 1
    between = figure(served, cell, "grad/norm")
    assert (between["data"][0]["x"], between["layout"]["xaxis"]["title"]["text"]) == ([15.0], "step")
    text = page(served, cell)
    assert re.findall(r'<figure class="chart"[^>]* aria-label="([^"]+)"', text) == [
        "loss",
        "acc",
        "grad/norm",
    ]
    assert row_of(scalars(text), "loss") == ["2", "3", "1.5", "1.5", "3"]
    for source in re.findall(r'data-figure="([^"]+)"', text):
        address = "/studies/busy/" + source.replace("&amp;", "&")
        answer = served.client.get(address)
        again = served.client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert (answer.status_code, again.status_code, again.content) == (200, 304, b"")


def test_numbers_that_are_none_leave_a_gap(served: Served, record: StudyRecord) -> None:
    log = TrialLog(record.storage, paths_of(record, "no-batchnorm"), 1, loggers=())
    log.report(row(1, math.inf, 1, acc=0.5))
    log.report(row(2, 2.0, 1))
    log.close()
    cell = cell_of(record, "no-batchnorm")
    assert figure(served, cell, "loss")["data"][0]["y"] == [None, 2.0]
    assert row_of(scalars(page(served, cell)), "loss") == ["2", "2", "2", "2", "2"]


def test_pictures_of_its_monitors(served: Served, record: StudyRecord) -> None:
    text = page(served, cell_of(record))
    found = re.findall(r'<img src="([^"]+)" alt="([^"]+)"', text)
    assert [alt for _, alt in found] == ["confusion, step 10"]  # the later one is of an attempt that was lost
    answer = served.client.get("/studies/busy/" + found[0][0].replace("&amp;", "&"))
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(PNG)
    other = found[0][0].replace("&amp;", "&").replace("at=", "at=1")
    assert served.client.get(f"/studies/busy/{other}").status_code == 404


def test_what_differs_from_the_baseline(served: Served, record: StudyRecord) -> None:
    assert row_of(page(served, cell_of(record)), "model.kind") == ["cnn", "vit"]
    assert "the same as the baseline" in page(served, cell_of(record, "baseline"))


def test_settings_are_bounded_and_hold_no_secret() -> None:
    assert shown_setting("data.path", "x" * 1000, ()).startswith("x" * 300 + "…")
    assert shown_setting("model.api_key", "0123456789", ()) == MASK
    assert shown_setting("model.words", ["correct horse"], ("correct horse",)) == f'["{MASK}"]'
    assert shown_setting("model.kind", MISSING, ()) == "not set"
    assert shown_setting("model.kind", "\x1b[2J", ()) == "\\x1b[2J"


def test_the_end_of_its_log(served: Served, record: StudyRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of(record)
    assert "first\n\\x1b[31mred\n10%\n20%\n</pre>" in page(served, cell)
    monkeypatch.setenv("MY_TOKEN", "correct horse")
    path = record.storage.local_path(paths_of(record).log())
    path.write_text("".join(f"line {n:05d} of many <b>\n" for n in range(10_000)) + "it is correct horse\n")
    text = page(served, cell)
    log = text[text.index('id="log"') :]
    assert "its end; " in text
    assert "line 09999 of many &lt;b&gt;\nit is ***\n</pre>" in log
    assert len(log) < 60_000
    assert re.search(r'aria-label="the log">line \d{5} of', log)


def test_what_has_not_changed_is_not_sent_again(served: Served, record: StudyRecord) -> None:
    cell = cell_of(record)
    text = page(served, cell)
    known = re.search(r'data-tag="&#34;(\w+)&#34;"', text)
    assert known is not None
    tag = {"If-None-Match": f'"{known[1]}"'}

    def code() -> int:
        return served.client.get("/studies/busy/trial", params={"cell": cell}, headers=tag).status_code

    assert code() == 304
    look = trialpages.look_at_one_trial(served.site, "busy", cell)
    assert look[1] == livepages.SOON_S
    other = cell_of(record, "kind=mlp")
    record.append(Assigned(other, "kind=mlp", 0, 1, "lane-3", None))
    record.sync()
    assert code() == 304  # another trial's news are not of this one
    assert trialpages.look_at_one_trial(served.site, "busy", cell) == look
    with record.storage.local_path(paths_of(record).log()).open("a") as log:
        log.write("more\n")
    assert trialpages.look_at_one_trial(served.site, "busy", cell) != look
    assert code() == 200


@pytest.mark.parametrize("cell", ["", "0" * 12, "../x", "\0", "<b>"])
def test_cells_that_there_are_not(served: Served, record: StudyRecord, cell: str) -> None:
    for place in ("trial", "trial/curves.json", "trial/picture"):
        answer = served.client.get(f"/studies/busy/{place}", params={"cell": cell, "of": "loss"})
        assert answer.status_code == 404
        assert "has no such trial" in answer.text


def test_a_deleted_directory_is_said(served: Served, record: StudyRecord) -> None:
    end_trial(record, cell_of(record))
    shutil.rmtree(record.storage.local_path(paths_of(record).root))
    text = page(served, cell_of(record))
    assert "trials/kind=vit/seed-0 is gone" in text
    assert 'href="files/' not in text
    assert row_of(text, "loss")[-1] == "1.25"


def test_a_record_that_is_no_record_costs_the_page_only_that_part(
    served: Served, record: StudyRecord
) -> None:
    root = record.storage.local_path(paths_of(record).root)
    for name in ("metrics.a2.jsonl", "log.txt"):
        (root / name).unlink()
        (root / name).mkdir()
    (root / "metrics.a2.parquet").write_bytes(b"no table")
    text = page(served, cell_of(record))
    assert text.count('<p class="warning">') == 1
    assert "not a Parquet table" in text
    assert "<strong>running</strong>" in text


@pytest.mark.parametrize("said", TEXTS.values(), ids=TEXTS)
def test_what_hostile_trials_say(served: Served, record: StudyRecord, said: str) -> None:
    harmless = (
        Tags(page(served, cell_of(record))).found | Tags(served.client.get("/studies/busy/").text).found
    )
    cell, arm = cell_of(record, "kind=mlp", 1), "kind=mlp"
    record.append(Assigned(cell, arm, 1, 1, said, None))
    record.append(AttemptFailed(cell, 1, Cause.INFRA, said, again=True, node=said))
    record.append(Assigned(cell, arm, 1, 2, said, None))
    end = TrialEnd(
        cell, arm, 1, 2, TrialState.FAILED, Cause.USER, said, 1.0, None, 1.0, 0.0, beside={said: 1.0}
    )
    record.append(end)
    record.sync()
    log = TrialLog(record.storage, paths_of(record, arm, 1), 1, loggers=())
    log.report(row(1, 1.0, 1, **{said[:90_000]: 1.0}))
    log.close()
    path = record.storage.local_path(paths_of(record, arm, 1).log())
    path.write_bytes(said.encode(errors="surrogateescape") if said != TEXTS["surrogate"] else b"\xff\xfe")
    text = page(served, cell)
    inert(text, harmless | {("p", "role")})
    for source in re.findall(r'data-figure="([^"]+)"', text):
        answer = served.client.get("/studies/busy/" + source.replace("&amp;", "&"))
        drawn = json.dumps(answer.json(), ensure_ascii=False)
        assert "<" not in drawn
        assert drawn == visible(drawn)


def test_of_many_scalars_a_page_has_some(served: Served, record: StudyRecord) -> None:
    log = TrialLog(record.storage, paths_of(record, "no-batchnorm"), 1, loggers=())
    log.report(row(1, 1.0, 1, **{f"m{number}": number for number in range(30)}))
    log.close()
    cell = cell_of(record, "no-batchnorm")
    assert "1 to 12 of 31 scalars" in page(served, cell)
    last = page(served, cell, scalars_first="24")
    assert "25 to 31 of 31 scalars" in last
    assert f'href="?cell={quote(cell)}&amp;scalars_first=12#curves"' in last


@pytest.mark.slow
def test_trials_of_every_version_and_kind_have_their_page(tmp_path: Path) -> None:
    shutil.copytree(RECORDS, tmp_path / "runs")
    served = serve(tmp_path)
    for name in sorted(path.name for path in RECORDS.iterdir()):
        kept = served.site.studies.named(name)
        assert kept is not None
        cells = kept.status().cells
        for one in {cells[0].cell, cells[-1].cell}:
            for source in re.findall(r'data-figure="([^"]+)"', page(served, one, name))[:2]:
                answer = served.client.get(f"/studies/{name}/" + source.replace("&amp;", "&"))
                assert answer.json()["data"][0]["x"]


SETTINGS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.booleans(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.text("abc", min_size=1, max_size=2), SETTINGS, max_size=4)


@given(CONFIGS, CONFIGS)
def test_the_difference_is_what_makes_one_config_of_the_other(one: Any, other: Any) -> None:
    def told(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    assert config_difference(one, json.loads(told(one))) == []
    flat = dict(leaves(one))
    for key, old, new in config_difference(one, other):
        assert (flat.get(key, MISSING) is MISSING) == (old is MISSING)
        if new is MISSING:
            del flat[key]
        else:
            assert told(flat.get(key, [])) != told(new) or old is MISSING
            flat[key] = new
    assert told(flat) == told(dict(leaves(other)))
