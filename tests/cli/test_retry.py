"""`orchestrate retry`: one trial of a study on disk again, found by its arm and seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from workbench import NO_EXTRA

from orchestrator.api.study import Study
from orchestrator.engine.inprocess import report, run_in_process
from orchestrator.engine.running import RunOptions, StudyOutcome
from orchestrator.engine.sharing import Offer, StudyQueue, Want
from orchestrator.record.codeidentity import PackedCode
from orchestrator.record.studyrecord import Start, StudyRecord

pytestmark = pytest.mark.slow

ASHA = "stopping: {rule: asha, max: 9, unit: epoch, grace: 1, reduction: 3}"


def train(config: dict[str, Any]) -> None:
    for epoch in (1, 2):
        report({"epoch": epoch, "loss": config["model"]["width"] / epoch + config["seed"]})
        if not config["model"]["dropout"] and not Path("mended").exists():
            raise RuntimeError("broken until mended")


def run_study(study: Study, options: RunOptions, listener: object, beside: object) -> StudyOutcome:
    """Run what the command asks for without Ray, as far as these options go."""
    del listener, beside
    code = PackedCode.of(study.entrypoint, study.spec)
    accepts = {"accept_code_change": options.accept_code_change, "retry_failed": options.retry_failed}
    start = Start(code.hash, code.archive, **accepts)
    with closing(StudyRecord.open(study.storage, study.spec, study.plan, start)) as record:
        return run_in_process(study.spec, record, train, again=options.again)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, write_study: Callable[[Path], Path]) -> Path:
    """A directory of a study after its first run: one arm has failed."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("orchestrator.engine.driver.run_study", run_study)
        patch.setattr("orchestrator.reporting.write.EXTRA", NO_EXTRA)
        study = write_study(folder)
        study.write_text(study.read_text().replace(ASHA, "stopping: {max: 2}"))
        Study.from_file("study.yaml").run(progress="none")
    return folder


@pytest.fixture
def ended(first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in the current directory."""
    shutil.copytree(first_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.engine.driver.run_study", run_study)
    monkeypatch.setattr("orchestrator.reporting.write.EXTRA", NO_EXTRA)
    return Path("runs/small")


def attempts() -> dict[tuple[str, int], int]:
    rows = Study.from_file("study.yaml").recorded().results().rows()
    return {(row["arm"], row["seed"]): row["attempts"] for row in rows}


def test_a_trial_that_failed_runs_again_with_mended_code(command, ended: Path) -> None:
    first = attempts()
    refused = command("retry", "small", "no-dropout", 1)
    assert refused.code == 1
    assert "orchestrate logs no-dropout 1 --study small" in refused.err
    Path("mended").touch()
    Path("trial.py").write_text("def train(config):\n    raise RuntimeError('other code')\n")
    answered = command(
        "retry", ended, "baseline", 0
    )  # it has its answer: other code is not what was asked for
    assert answered.code == 2
    assert "trial.py is changed" in answered.err
    assert "\n    -    raise RuntimeError('the command must not import user code')\n" in answered.err
    assert "\n    +    raise RuntimeError('other code')\n" in answered.err
    done = command("retry", "small", "no-dropout", 1)
    assert done.code == 0, done.err
    assert done.out.startswith("no-dropout seed 1: done, loss 17, attempt 3")
    assert attempts() == {**first, ("no-dropout", 1): 3}
    status = command("status", "small").out
    assert "Not all runs are of the same code" in status
    assert "(no-dropout seed 1)" in status


def test_a_trial_whose_directory_was_deleted_begins_anew(command, ended: Path) -> None:
    shutil.rmtree(ended / "trials/baseline/seed-1")
    assert "is gone" in command("status", ended).out
    assert "again: orchestrate retry runs/small baseline 1" in command("status", ended).out
    done = command("retry", ended, "baseline", 1)
    assert (done.code, done.out) == (0, "baseline seed 1: done, loss 17, attempt 2\n")
    assert "is gone" not in command("status", ended).out
    assert (ended / "report.md").read_text().count("Run again on request after they had ended: ") == 1


def test_what_is_not_there_is_refused(command, ended: Path) -> None:
    assert "did you mean baseline?" in command("retry", "small", "basline", 0).err
    assert "valid: 0, 1" in command("retry", "small", "baseline", 7).err
    assert command("retry", "absent", "baseline", 0).code == 2
    moved = ended.rename(ended.with_name("small.20260101-000000"))
    assert "--fresh has put it aside" in command("retry", moved, "baseline", 0).err


def test_a_program_gets_the_trial_that_ran_again(
    command, ended: Path, fits: Callable[[str, Any], None]
) -> None:
    document = command("retry", "small", "baseline", 0, "--json").document
    fits("retry", document)
    assert (document["arm"], document["state"], document["attempts"]) == ("baseline", "done", 2)
    assert (document["left"], document["exit_code"]) == (0, 0)


def test_one_that_is_queued_waits_for_the_studies_that_are_here_and_can_be_cancelled(
    command, ended: Path
) -> None:
    assert command("retry", ended, "baseline", 1, "--queue", "--address", "auto").code == 2
    before, queue = attempts(), StudyQueue.here()

    def cancel() -> None:
        while not queue.cancel(str(ended.resolve())):
            Event().wait(0.01)

    with queue.register.claimed(Want("first", "/elsewhere/first", 1, 0), Offer(4), print):
        thread = Thread(target=cancel, daemon=True)
        thread.start()
        cancelled = command("retry", ended, "no-dropout", 1, "--queue")
        thread.join(60)
    assert cancelled.code == 143
    assert "waiting for first (process" in cancelled.err
    assert attempts() == before
    Path("mended").touch()
    assert command("retry", ended, "no-dropout", 1, "--queue").code == 0
