"""Directories below the temporary one are this user's alone, or are not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.record.privatedir import is_private, make_private


def test_it_is_made_and_taken_again(tmp_path: Path) -> None:
    made = make_private(tmp_path / "above" / "own")
    assert is_private(made)
    assert make_private(made) == made


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_what_others_can_enter_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "own"
    if kind == "a link":
        make_private(tmp_path / "theirs")
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.mkdir()
        folder.chmod(0o755)
    with pytest.raises(PermissionError, match="directory of this user's alone"):
        make_private(folder)
