"""What contributors' tools ask is what `make check` asks; the hosted workflow runs targets that exist."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml
from released import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def workflow() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")))


def commands_of(target: str) -> list[str]:
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    return [line.strip().removeprefix("$(BIN)/") for line in recipe.group(1).splitlines()]


def test_hooks_ask_what_make_check_asks() -> None:
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = {
        hook["entry"].removeprefix(".venv/bin/").partition(" --force-exclude")[0] for hook in local["hooks"]
    }
    assert hooks == {re.sub(r" (--check )?\.$", "", command) for command in commands_of("check")}


def test_the_workflow_runs_targets_of_the_makefile() -> None:
    runs = [step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    targets = [
        next(word for word in reversed(run.split()) if "=" not in word)
        for run in runs
        if run.startswith("make ")
    ]
    assert set(targets) >= {"check", "release", "test", "test-ray", "test-fast"}
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_workflow_runs_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [
        word
        for line in project["classifiers"]
        for word in re.findall(r"^Programming Language :: Python :: (3\.\d+)$", line)
    ]
    assert workflow()["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
