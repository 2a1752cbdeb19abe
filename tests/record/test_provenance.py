from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError, StudyError
from orchestrator.record import codearchive
from orchestrator.record.codearchive import pack_files, read_code, unpack_code
from orchestrator.record.provenance import collect_env, git_state, study_file, this_user


@pytest.fixture
def code(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    files = {
        "train.py": "x = 1\n",
        "pkg/model.py": "y = 2\n",
        "pkg/settings.yaml": "a: 1\n",
        "tests/test_train.py": "assert True\n",
        "weights.pt": "binary",
        ".hidden/secret.py": "no\n",
        ".env": "TOKEN=1\n",
        "env/pyvenv.cfg": "home = /usr\n",
        "env/lib/thing.py": "no\n",
        "lib/site-packages/other.py": "no\n",
        "node_modules/x.json": "{}",
        "runs/digits/study.yaml": "no\n",
        "out/journal.jsonl": "",
        "out/code.py": "no\n",
        "pkg/__pycache__/model.py": "no\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "big.json").write_bytes(b"1" * codearchive.FILE_LIMIT)
    return root


def test_the_archive_holds_code_and_small_text(code: Path, tmp_path: Path) -> None:
    unpack_code(pack_files(read_code(code)), tmp_path / "node")
    found = {
        path.relative_to(tmp_path / "node").as_posix()
        for path in (tmp_path / "node").rglob("*")
        if path.is_file()
    }
    assert found == {"train.py", "pkg/model.py", "pkg/settings.yaml", "tests/test_train.py"}
    assert (tmp_path / "node/pkg/model.py").read_text() == "y = 2\n"


def test_the_same_files_give_the_same_bytes(code: Path) -> None:
    first = pack_files(read_code(code))
    os.utime(code / "train.py", (1, 1))
    (code / "train.py").chmod(0o600)
    assert pack_files(read_code(code)) == first


def test_excluded_directories_stay_out(code: Path, tmp_path: Path) -> None:
    assert pack_files(read_code(code, exclude=[code / "pkg"])) != pack_files(read_code(code))
    assert "pkg/model.py" not in read_code(code, exclude=[code / "pkg"])


def test_a_directory_that_is_no_code_directory_is_refused(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codearchive, "ENTRY_LIMIT", 3)
    with pytest.raises(StudyError, match="start the command from"):
        read_code(code)
    monkeypatch.undo()
    monkeypatch.setattr(codearchive, "TOTAL_LIMIT", 3)
    with pytest.raises(StudyError, match="start the command from"):
        pack_files(read_code(code))


def archive(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as tar:
        good = tarfile.TarInfo("good.py")
        tar.addfile(good)
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        tar.addfile(member)
    return sink.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive("../evil.py"),
        archive("/evil.py"),
        archive("a/../../evil.py"),
        archive("..\\evil.py"),
        archive("link", tarfile.SYMTYPE, "/etc"),
        archive("link", tarfile.LNKTYPE, "../x"),
        archive("pipe", tarfile.FIFOTYPE),
        archive("null", tarfile.CHRTYPE),
    ],
)
def test_nothing_escapes_from_an_archive(data: bytes, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with pytest.raises(InputError, match="may not be extracted"):
        unpack_code(data, dest)
    assert list(tmp_path.rglob("*")) == []


def test_a_link_in_the_destination_is_not_followed_out(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (tmp_path / "outside").mkdir()
    (dest / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="may not be extracted"):
        unpack_code(archive("sub/evil.py"), dest)
    assert list((tmp_path / "outside").iterdir()) == []


@given(st.binary(max_size=200), st.integers(0, 400))
def test_rubbish_is_refused(rubbish: bytes, cut: int) -> None:
    for data in (rubbish, archive("a.py")[: min(cut, 100)]):
        with tempfile.TemporaryDirectory() as folder, pytest.raises(InputError):
            unpack_code(data, Path(folder) / "x")


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_git_state(code: Path) -> None:
    assert git_state(code) is None
    git(code, "init")
    git(code, "add", "train.py", "pkg")
    git(code, "commit", "-m", "first")
    (code / "train.py").write_text("x = 'ü'\n")
    state = git_state(code)
    assert state is not None
    assert len(state["commit"]) == 40
    assert (state["branch"], state["dirty"]) == ("main", True)
    assert "+x = 'ü'" in state["diff"]
    assert "tests/test_train.py" in state["untracked"]


def test_the_environment_is_described_without_its_variables(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-very-secret")
    env = collect_env(code)
    text = json.dumps(env)
    assert "hunter2" not in text
    assert env["packages"]["pyarrow"]
    assert env["hardware"]["cpus"] >= 1
    assert env["git"] is None


def test_keys_stay_out_of_the_archive(code: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("a key")
    (code / "settings.json").symlink_to(tmp_path / "elsewhere.json")
    for name in ("my-credentials.json", "secrets.yaml", "kaggle.json", "api_key.txt", "token.txt", "key.pem"):
        (code / name).write_text("a key")
    (code / "tokenizer_config.json").write_text("{}")
    unpack_code(pack_files(read_code(code)), tmp_path / "node")
    found = {path.name for path in (tmp_path / "node").rglob("*") if path.is_file()}
    assert found == {
        "train.py",
        "model.py",
        "settings.yaml",
        "test_train.py",
        "tokenizer_config.json",
    }


def test_secrets_in_a_difference_are_masked(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-very-secret")
    git(code, "init")
    git(code, "add", "train.py")
    git(code, "commit", "-m", "first")
    (code / "train.py").write_text("x = 'hunter2-very-secret'\nurl = 'https://me:pa55word@host'\n")
    state = git_state(code)
    assert state is not None
    assert "+x = '***'" in state["diff"]
    assert "pa55word" not in state["diff"]


def test_a_linked_folder_of_code_travels_and_no_other_does(tmp_path: Path) -> None:
    for folder, file in (("lib/pkg/deep", "layer.py"), ("data", "image.csv"), ("code", "train.py")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / file).write_text("x = 1\n")
    (tmp_path / "lib" / "pkg" / "model.py").write_text("x = 1\n")
    (tmp_path / "lib" / "pkg" / "notes.txt").write_text("somebody's")
    code = tmp_path / "code"
    (code / "pkg").symlink_to(tmp_path / "lib" / "pkg")
    (code / "data").symlink_to(tmp_path / "data")
    (code / "again").symlink_to(code)
    (tmp_path / "lib" / "pkg" / "back").symlink_to(tmp_path / "lib" / "pkg")
    (tmp_path / "linked").symlink_to(code)
    found = set(read_code(tmp_path / "linked"))
    assert found == {"train.py", "pkg/model.py", "pkg/deep/layer.py"}
    before = read_code(code)
    (tmp_path / "lib" / "pkg" / "model.py").write_text("x = 2\n")
    assert read_code(code) != before


def test_who_starts_a_study_and_from_which_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert this_user().startswith("ada@")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a container whose user has no name
    assert this_user().startswith(f"{os.getuid()}@")
    file = tmp_path / "study.yaml"
    file.write_bytes(b"name: x\n")
    said = study_file(file)
    assert said is not None
    assert said["path"] == str(file.resolve())
    assert len(said["sha256"]) == 64
    assert study_file(tmp_path / "the study's mapping") is None
