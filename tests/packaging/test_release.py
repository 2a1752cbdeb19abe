"""What the wheel and the sdist hold: the package whole, and nothing else of the checkout in the wheel."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import PurePosixPath

import pytest
from released import ROOT, Release

pytestmark = [pytest.mark.slow, pytest.mark.long]  # builds both


@pytest.fixture(scope="module")
def names(release: Release) -> set[str]:
    with zipfile.ZipFile(release.wheel) as wheel:
        return set(wheel.namelist())


@pytest.fixture(scope="module")
def metadata(release: Release) -> Message:
    with zipfile.ZipFile(release.wheel) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(wheel.read(name))


def test_the_wheel_is_the_package_and_its_metadata(names: set[str], metadata: Message) -> None:
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert tops == {"orchestrator", f"orchestrator-{metadata['Version']}.dist-info"}


def test_every_file_of_the_package_is_in_the_wheel(release: Release, names: set[str]) -> None:
    package = release.source / "orchestrator"
    files = {
        path.relative_to(release.source).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("orchestrator/")} == files
    assert "orchestrator/py.typed" in files


def test_the_metadata_says_what_the_package_is(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} <= set(
        metadata.get_all("Classifier")
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra")) == set(extras)


def test_the_sdist_can_be_tested(release: Release) -> None:
    with tarfile.open(release.sdist) as sdist:
        files = {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in sdist.getnames()}
    kept = ("benchmarks", "configs", "docs", "orchestrator", "tests", "trials")
    wanted = {
        path.relative_to(release.source).as_posix()
        for top in kept
        for path in (release.source / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= files
    assert {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml"} <= files
