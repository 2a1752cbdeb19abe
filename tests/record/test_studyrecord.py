from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import ChangedCode, ChangedStudy, StudyError, StudyHeld
from orchestrator.record.codearchive import files_in, pack_files
from orchestrator.record.events import Assigned, Noted, StudyStarted, TrialEnd
from orchestrator.record.journal import read_journal
from orchestrator.record.jsonlines import from_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease, read_lease
from orchestrator.record.recorded import as_begun, read_study
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord, same_study
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec
from orchestrator.study.validation import read_spec

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
PATHS = StudyPaths.of("digits")


def study(**changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "digits",
        "entrypoint": "trials.digits:Digits",
        "metric": {"name": "val/accuracy", "mode": "max"},
        "baseline": {"model": {"norm": True, "width": 32}, "data": {"mixup": 0.2}, "optim": {"lr": 1e-5}},
        "components": {"norm": {"without": {"model.norm": False}}},
        "seeds": 2,
        "stopping": {"max": 8},
    }
    return StudySpec.model_validate({**data, **changes})


MORE = {
    "norm": {"without": {"model.norm": False}, "why": "does it matter?"},
    "mixup": {"without": {"data.mixup": 0.0}},
}
Opener = Callable[..., StudyRecord]


@pytest.fixture
def start(storage: Storage) -> Opener:
    def start(
        spec: StudySpec | None = None,
        code: str = "c0",
        clock: Callable[[], float] = lambda: 1_700_000_000.0,
        **options: Any,
    ) -> StudyRecord:
        spec = spec or study()
        start = Start(code, code.encode(), {"python": "3.11"}, **options)
        return StudyRecord.open(storage, spec, make_plan(spec), start, clock=clock)

    return start


def starts(storage: Storage) -> list[str]:
    events = read_journal(storage, PATHS.journal).events
    return [event.reason for event in events if isinstance(event, StudyStarted)]


def everything(storage: Storage) -> dict[str, bytes]:
    return {path: storage.read_bytes(path) for path in storage.sizes("") if not path.endswith("/.lock")}


def test_a_new_study_is_recorded_before_anything_runs(storage: Storage, start: Opener) -> None:
    record = start()
    assert (record.how, record.code_changed, record.moved) == ("new", False, None)
    assert set(storage.sizes("digits")) >= {"study.yaml", "plan.json", "env.json", "code.tar.gz"}
    assert from_json(storage.read_bytes(PATHS.env_json)) == {"code_hash": "c0", "python": "3.11"}
    assert len(record.state.remaining()) == 4
    record.close()
    assert read_lease(storage, PATHS) is None
    found = read_study(storage, "digits")
    assert StudySpec.model_validate(found.spec) == as_begun(study(), storage, None)
    assert found.plan == found.registered == make_plan(study())
    assert list(found.state.cells) == [cell.cell for cell in found.plan.cells]
    assert found.progress() is None


def test_the_same_command_again_goes_on(storage: Storage, start: Opener) -> None:
    record = start()
    cell = record.plan.cells[0]
    who = (cell.cell, cell.arm, cell.seed, 1)
    record.append(Assigned(*who, "0", None))
    record.append(TrialEnd(*who, TrialState.DONE, None, None, 8.0, 0.5, 1.0, 0.0))
    record.lease.beat({"done": 1})
    record.close()
    again = start(study(budget={"wall": "2h"}, resources={"max_parallel": 3}))
    assert again.how == "resume"
    assert again.state.cells[cell.cell].state is TrialState.DONE
    assert len(again.state.remaining()) == 3
    again.close()
    assert read_study(storage, "digits").spec["budget"]["wall"] == 7200
    assert read_study(storage, "digits").progress() == {"done": 1}
    assert starts(storage) == ["new", "resume"]


def test_a_torn_journal_is_noted(storage: Storage, start: Opener) -> None:
    start().close()
    part = storage.grown(PATHS.journal)[-1]
    storage.write_atomic(part, storage.read_bytes(part) + b'{"v":1')
    start().close()
    events = read_journal(storage, PATHS.journal).events
    assert [event.torn_bytes for event in events if isinstance(event, Noted)] == [6]


def test_a_changed_study_is_refused_with_all_differences(storage: Storage, start: Opener) -> None:
    start().close()
    before = everything(storage)
    with pytest.raises(ChangedStudy) as caught:
        start(study(stopping={"max": 9}, metric={"name": "val/loss", "mode": "min"}))
    text = str(caught.value)
    for part in ("stopping.max", "8 → 9", "metric.name", "metric.mode", "--fresh"):
        assert part in text
    with pytest.raises(ChangedStudy, match="--extend accepts only more"):
        start(study(stopping={"max": 9}), extend=True)
    assert everything(storage) == before


def test_more_arms_and_seeds_need_extend(storage: Storage, start: Opener) -> None:
    start().close()
    before = everything(storage)
    with pytest.raises(ChangedStudy, match="use --extend"):
        start(study(components=MORE))
    assert everything(storage) == before
    record = start(study(components=MORE, seeds=3), extend=True)
    assert record.how == "extend"
    assert len(record.state.cells) == 9
    record.close()
    assert start(study(components=MORE, seeds=3)).how == "resume"


def test_a_sequential_study_takes_arms_but_no_seeds(storage: Storage, start: Opener) -> None:
    stopping = {"max": 8, "rule": "resolve"}
    start(study(stopping=stopping)).close()
    for extend in (False, True):
        with pytest.raises(ChangedStudy, match="adding them after seeing results voids its error levels"):
            start(study(stopping=stopping, seeds=9), extend=extend)
    record = start(study(stopping=stopping, components=MORE), extend=True)
    assert record.how == "extend"
    record.close()


@pytest.mark.parametrize("name", ["none", "resolve-save", "extended", "resolve-reinvest"])
def test_a_study_goes_on_under_the_version_of_its_rule_that_it_began_under(name: str) -> None:
    records = Storage.open(RECORDS)
    found = read_study(records, name)
    assert found.spec["stopping"]["version"] == 1  # which its study.yaml does not say
    data = {**found.spec, "stopping": {**found.spec["stopping"], "version": "auto"}}
    again, fresh = (as_begun(read_spec(data), records, paths) for paths in (found.paths, None))
    assert make_plan(again).hash == found.registered.hash
    assert same_study(found, again, extend=False) == "resume"
    added = {**data["components"], "new": {"without": {"lr": 1.0}}}
    more = as_begun(read_spec({**data, "components": added}), records, found.paths)
    assert same_study(found, more, extend=True) == "extend"
    assert (again.stopping.version, more.stopping.version, fresh.stopping.version) == (1, 1, 2)
    for extend in (False, True):
        with pytest.raises(ChangedStudy, match=r"stopping\.version: 1 → 2"):
            same_study(found, fresh, extend)


def test_a_new_study_has_the_newest_version_on_record(storage: Storage, start: Opener) -> None:
    stopping = {"max": 8, "rule": "resolve"}
    start(study(stopping=stopping)).close()
    assert read_study(storage, "digits").spec["stopping"]["version"] == 2
    assert as_begun(study(stopping=stopping), storage, PATHS).stopping.version == 2
    with pytest.raises(ChangedStudy, match=r"stopping\.version: 2 → 1"):
        start(study(stopping={**stopping, "version": 1}))
    start(study(stopping={**stopping, "version": 1}), fresh=True).close()
    assert as_begun(study(stopping=stopping), storage, PATHS).stopping.version == 1
    assert as_begun(study(), storage, PATHS).stopping.version == 2  # of another rule: a new study's


def test_changed_code_is_refused_until_it_is_accepted(storage: Storage, start: Opener) -> None:
    start(code="c0").close()
    before = everything(storage)
    with pytest.raises(ChangedCode, match="--accept-code-change"):
        start(code="c1")
    assert everything(storage) == before
    for how in ({"accept_code_change": True}, {}):
        record = start(code="c1", **how)
        assert record.code_changed
        assert record.state.accepted_code == ["c1"]
        record.close()
    assert storage.read_bytes(PATHS.code_archive) == b"c0"
    assert storage.read_bytes(PATHS.changed_code_archive("c1")) == b"c1"
    with pytest.raises(ChangedCode):
        start(code="c0")
    record = start(code="c0", accept_code_change=True)
    assert not record.code_changed
    record.close()
    start(code="c0").close()


def test_fresh_keeps_the_old_directory(storage: Storage, start: Opener) -> None:
    assert start(fresh=True).moved is None
    read = read_lease(storage, PATHS)
    assert read is not None
    with pytest.raises(StudyHeld):
        start(study(stopping={"max": 9}), fresh=True)
    storage.delete_file(PATHS.lease)
    old = storage.read_bytes(PATHS.study_yaml)
    moved = []
    for _ in range(2):
        record = start(study(stopping={"max": 9}), code="c1", fresh=True)
        assert record.how == "new"
        moved.append(record.moved)
        record.close()
    assert moved == ["digits.20231114-221320", "digits.20231114-221320-2"]
    assert storage.read_bytes("digits.20231114-221320/study.yaml") == old
    assert read_lease(storage, StudyPaths("digits.20231114-221320")) is None
    assert read_study(storage, "digits.20231114-221320").spec["stopping"]["max"] == 8
    assert read_study(storage, "digits").spec["stopping"]["max"] == 9


def test_a_held_study_is_refused(storage: Storage, start: Opener) -> None:
    first = start()
    with pytest.raises(StudyHeld):
        start()
    first.append(Noted("still mine"))
    first.close()
    start().close()


def test_a_start_that_failed_gives_the_lease_back(storage: Storage, start: Opener) -> None:
    start().close()
    clock = iter([1.0])
    with pytest.raises(StopIteration):
        start(clock=lambda: next(clock))
    assert read_lease(storage, PATHS) is None


def test_a_start_that_was_cut_off_begins_anew(storage: Storage, start: Opener) -> None:
    start(code="c0").close()
    storage.delete_file(PATHS.plan_json)  # as if it had not come that far
    record = start(study(stopping={"max": 9}), code="c1")
    assert (record.how, record.code_changed) == ("new", False)
    record.close()
    assert starts(storage) == ["new"]


def test_an_unreadable_record_is_no_traceback(storage: Storage, start: Opener) -> None:
    start().close()
    storage.write_atomic(PATHS.study_yaml, "a: [")
    with pytest.raises(ChangedStudy, match="cannot be read by this version"):
        start()
    with pytest.raises(StudyError, match="damaged"):
        read_study(storage, "digits")


def test_where_no_study_is_those_that_are_there_are_named(storage: Storage, start: Opener) -> None:
    with pytest.raises(StudyError, match="there is no study yet"):
        read_study(storage, "digits")
    start().close()
    with pytest.raises(StudyError, match="there are: digits"):
        read_study(storage, "digist")


def test_the_lease_is_ours_while_the_record_is_open(storage: Storage, start: Opener) -> None:
    record = start(owner={"user": "ada"})
    assert isinstance(record.lease, Lease)
    owner = read_lease(storage, PATHS)
    assert owner is not None
    assert owner["user"] == "ada"
    record.close()


def code(**files: str) -> tuple[str, bytes]:
    """Hash and archive of files."""
    packed = pack_files({f"{name}.py": text.encode() for name, text in files.items()})
    return str(hash(packed)), packed


def test_changed_code_is_named_file_by_file(storage: Storage) -> None:
    def opened(files: dict[str, str], **how: bool) -> StudyRecord:
        return StudyRecord.open(storage, study(), make_plan(study()), Start(*code(**files), **how))

    opened({"train": "x = 1", "old": ""}).close()
    with pytest.raises(ChangedCode) as told:
        opened({"train": "x = 2", "new": ""})
    for line in ("new.py is new", "old.py is gone", "train.py is changed"):
        assert line in str(told.value)
    opened({"train": "x = 2", "new": ""}, accept_code_change=True).close()
    with pytest.raises(ChangedCode) as told:
        opened({"train": "x = 2"})
    assert "new.py is gone" in str(told.value)
    assert "train.py" not in str(told.value)


Cells = Callable[..., StudyRecord]


@pytest.fixture
def project(storage: Storage) -> Cells:
    """`project({"train": "x = 1"}, ...)`: the study of `train:main` with these files below its root."""

    def opened(files: dict[str, str], **how: Any) -> StudyRecord:
        spec = study(entrypoint="train:main")
        return StudyRecord.open(storage, spec, make_plan(spec), Start(*code(**files), **how))

    return opened


def ended(record: StudyRecord, number: int, state: TrialState, imported: tuple[str, ...] = ()) -> None:
    cell = list(record.state.cells.values())[number]
    attempt = cell.attempts + 1
    record.append(Assigned(cell.cell, cell.arm, cell.seed, attempt, None, None, record.code[:12]))
    end = TrialEnd(cell.cell, cell.arm, cell.seed, attempt, state, Cause.USER, "no", 1, 0.5, 1, 0)
    record.append(replace(end, imported=imported))


NET = "lr = 1\ndepth = 3\nwidth = 8\n"


def test_only_what_the_entrypoint_imports_is_its_code(storage: Storage, project: Cells) -> None:
    project({"train": "import net", "net": NET, "plots": ""}).close()
    record = project({"train": "import net", "net": NET, "plots": "changed", "later": "new"})
    assert (record.how, record.code_changed) == ("resume", False)
    frozen = files_in(storage.read_bytes(record.code_archive))
    assert frozen is not None
    assert (frozen["plots.py"], frozen["later.py"]) == (b"", b"new")  # for an arm that names it
    assert record.archive_digest == sha256(storage.read_bytes(record.code_archive)).hexdigest()
    record.close()
    with pytest.raises(ChangedCode) as told:
        project({"train": "import net", "net": NET.replace("3", "4")})
    fault = told.value.faults[0]
    assert "net.py is changed" in fault.message
    assert fault.detail == ("@@ -1,3 +1,3 @@", " lr = 1", "-depth = 3", "+depth = 4", " width = 8")
    assert len(told.value.faults) == 2  # what nothing imports is not named


def test_what_a_trial_was_seen_to_import_is_its_code(project: Cells) -> None:
    files = {"train": "__import__(name)", "net": NET}
    record = project(files)
    ended(record, 0, TrialState.DONE, ("net.py",))
    record.close()
    project({**files, "other": ""}).close()
    with pytest.raises(ChangedCode, match=r"net\.py is changed"):
        project({**files, "net": ""})


def test_mended_code_needs_no_second_word(project: Cells) -> None:
    record = project({"train": "1 / 0"})
    ended(record, 0, TrialState.DONE)
    record.close()
    mended = {"train": "1 / 2"}
    with pytest.raises(ChangedCode, match="with --accept-code-change"):
        project(mended, retry_failed=True)  # nothing has failed
    record = project({"train": "1 / 0"})
    ended(record, 1, TrialState.FAILED)
    record.close()
    with pytest.raises(ChangedCode, match=r"--retry-failed runs the 1 failed .* \(1 of 2 cells"):
        project(mended)
    record = project(mended, retry_failed=True)
    ended(record, 1, TrialState.DONE)
    codes = [cell.code for cell in record.state.cells.values()]
    assert codes[1] == record.code[:12] != codes[0]
    record.close()


def test_a_record_whose_hash_was_of_every_file_goes_on(storage: Storage) -> None:
    def opened(name: str, **files: str) -> StudyRecord:
        spec = study(entrypoint="train:main")
        return StudyRecord.open(storage, spec, make_plan(spec), Start(name, code(**files)[1]))

    opened("of every file", train="import net", net=NET, plots="").close()
    record = opened("of what counts", train="import net", net=NET)
    assert (record.code, record.code_changed) == ("of every file", False)
    record.close()
