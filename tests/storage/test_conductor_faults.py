"""The conductor on a disk that fills up at any of its steps: nothing takes effect that is not on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from disks import fill, own_mounts, small_disk
from test_conductor import Drive, ended, lost, rung

from orchestrator.decide.states import TrialState
from orchestrator.engine.capacity import Node
from orchestrator.engine.messages import Reassign, StopTrial
from orchestrator.errors import ExitCode, StorageUnavailable
from orchestrator.record.events import Noted

STEPS = ("assign", "rung", "end", "lost")


@own_mounts
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_stops_the_study_and_the_next_driver_finds_what_was_complete(
    step: str, tmp_path: Path
) -> None:
    drive = Drive(small_disk(tmp_path / "disk", "2m"))
    conductor = drive.conductor
    _, first = drive.assign()
    _, second = drive.assign()
    conductor.ended(ended(first, TrialState.DONE))
    before = drive.history()
    ballast = fill(tmp_path / "disk")
    pad(drive)
    if step == "assign":
        assert conductor.next_assignment() is None
    elif step == "rung":
        answer = conductor.rung(rung(second, 1.0, 0.5))
        assert (answer.stop, answer.state) == (True, TrialState.CANCELLED)
    elif step == "end":
        conductor.ended(ended(second, TrialState.DONE))
    else:
        (action,) = drive.say(lost(second))
        assert isinstance(action, Reassign)
        assert action.assignment is None
        assert action.outcome is not None
        assert action.outcome.state is TrialState.CANCELLED

    assert isinstance(conductor.lost, StorageUnavailable)
    assert conductor.lost.kind == "disk full"
    assert conductor.finished()
    assert conductor.exit_code() is ExitCode.UNAVAILABLE
    assert conductor.next_assignment() is None
    assert all(isinstance(action, StopTrial) for action in conductor.leave_actions())
    conductor.give_up_waiting()  # the driver's last step: there is nothing that it could write
    assert any("the study stops" in note for note in conductor.new_notes())
    drive.record.close()

    ballast.unlink()
    again = drive.start()
    after = drive.history()
    assert after.cells[first.cell].state is TrialState.DONE
    assert after.cells[first.cell] == before.cells[first.cell]
    assert again.lost is None
    assert not again.finished()
    assert second.cell in {trial.cell for trial in again.trials() if not trial.state.answered}


def pad(drive: Drive) -> None:
    """Use up what is left of the journal's last block: the next line needs a new one."""
    path = drive.record.storage.local_path(drive.record.paths.journal)
    room = -path.stat().st_size % 4096
    text = "x" * max(0, room - 80)
    drive.record.journal.append(Noted(text))
    while -path.stat().st_size % 4096 > 60:
        drive.record.journal.append(Noted(""))


@own_mounts
def test_a_note_about_nodes_that_cannot_be_written_stops_the_study(tmp_path: Path) -> None:
    drive = Drive(small_disk(tmp_path / "disk", "2m"))
    drive.assign()
    drive.conductor.see([Node("id", "10.0.0.2", 4, 4)])
    fill(tmp_path / "disk")
    pad(drive)
    drive.conductor.see([Node("id", "10.0.0.2", 4, 4, alive=False)])
    assert isinstance(drive.conductor.lost, StorageUnavailable)
    assert drive.conductor.exit_code() is ExitCode.UNAVAILABLE
