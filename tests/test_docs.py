"""Every block that a page shows works: commands parsed, studies loaded, code run where shown.toml says."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from orchestrator.cli.app import app, main
from orchestrator.study.loading import load_study

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "configs").glob("**/*.md")),
]
SCAFFOLD = ROOT / "orchestrator" / "cli" / "scaffold" / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "console")
TEXT = ("", "text")
"""What a program prints, or a drawing: nobody runs it."""
RUN, NOT_RUN = tomllib.loads((ROOT / "tests" / "shown.toml").read_text(encoding="utf-8")).values()
STUDY = {
    "name": "shown",
    "entrypoint": "mypackage.training:train",
    "metric": {"name": "val/accuracy", "mode": "max"},
    "components": {"optim": {"swap": {"low": {"optim.lr": 0.01}}}},
    "seeds": 3,
    "stopping": {"rule": "resolve", "max": 5, "unit": "epoch"},
}
"""What a part of a study file that a page shows extends, with a baseline that has what it changes."""
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def lines(page: Path) -> list[str]:
    """Return what the blocks of a page would have a shell do."""
    shown = (text.splitlines() for kind, text in BLOCK.findall(page.read_text()) if kind in SHELL)
    found = [line.removeprefix("$ ").partition("  #")[0].strip() for block in shown for line in block]
    return [line for line in found if line and not line.startswith("#")]


def commands(page: Path) -> list[str]:
    return [line for line in lines(page) if line.startswith(("orchestrate ", "make ", "pytest"))]


SHOWN = [(page, line) for page in [*PAGES, SCAFFOLD] for line in lines(page)]


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 12


def reason(line: str) -> str | None:
    """Return the beginning by which a line is listed as one that nothing runs."""
    return next((begin for begin in NOT_RUN if line.startswith(begin)), None)


@pytest.mark.parametrize(
    ("page", "line"), SHOWN, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_a_shown_command_works(page: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if reason(line):
        return
    program, *words = shlex.split(line.replace("{{name}}", "my-study"))
    KNOWN[program](words)


def parse(words: list[str]) -> None:
    if words[0].startswith("-"):
        return
    context = COMMANDS[words[0]].make_context(words[0], words[1:])
    config = Path(context.params.get("config") or "")
    if config.is_file():
        load_study(config, context.params.get("overrides") or [], cwd=ROOT)
    else:
        assert not config.is_relative_to("configs"), f"there is no {config}"


def make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_setting, _ = word.partition("=")
        assert re.search(
            rf"^{name} *\?=" if is_setting else rf"^{name}:|\$\({name}\)", makefile, re.MULTILINE
        ), word


def script(words: list[str]) -> None:
    text = (ROOT / words[0]).read_text()
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word.partition("=")[0]}"' in text, word


def extra(words: list[str]) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert words[0] == "install"
    assert [re.fullmatch(r"orchestrator\[(\w+)\]", word)[1] in known for word in words[1:]]  # type: ignore[index]


KNOWN = {
    "orchestrate": parse,
    "make": make,
    "python": script,
    "pip": extra,
    "pytest": lambda _: None,  # of a study that `init` has laid out: tests/cli/test_init.py
}


def parts(text: str) -> list[str]:
    """Return what a block shows of study files: one, or a line for each of several with the same key."""
    keys = [line.partition(":")[0] for line in text.splitlines()]
    return text.splitlines() if len(set(keys)) == 1 and len(keys) > 1 else [text]


def put(baseline: dict[str, Any], key: str, new: Any) -> None:
    """Let a baseline have a key that a component changes, with another value than it gets."""
    *above, last = key.split(".")
    for part in above:
        baseline = baseline.setdefault(part, {})
    baseline.setdefault(
        last, not new if isinstance(new, bool) else f"not {new}" if isinstance(new, str) else new + 1
    )


BLOCKS = [(page, *block) for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
STUDY_PARTS = [(page, part) for page, kind, text in BLOCKS if kind == "yaml" for part in parts(text)]


@pytest.mark.parametrize(("page", "part"), STUDY_PARTS, ids=lambda value: getattr(value, "name", ""))
def test_a_shown_part_of_a_study_file_is_valid(page: Path, part: str, tmp_path: Path) -> None:
    shown = yaml.safe_load(part)
    baseline: dict[str, Any] = {"optim": {"lr": 0.1}}
    for component in shown.get("components", {}).values():
        for change in (component.get("without", {}), *component.get("swap", {}).values()):
            for key, value in change.items():
                put(baseline, key, value)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**STUDY, "baseline": baseline}))
    (tmp_path / "study.yaml").write_text(f"extends: base.yaml\n{part}")
    assert load_study(tmp_path / "study.yaml").spec.seeds


def test_a_shown_entry_point_is_looked_for() -> None:
    groups = {
        group
        for _, kind, text in BLOCKS
        if kind == "toml"
        for group in tomllib.loads(text)["project"]["entry-points"]
    }
    code = [path.read_text() for path in (ROOT / "orchestrator").rglob("*.py")]
    assert groups
    assert {group for group in groups if not any(f'"{group}"' in text for text in code)} == set()


def test_every_other_block_has_a_test_that_runs_it() -> None:
    """tests/shown.toml: nothing is forgotten, and nothing stands there for what is gone."""
    alone = {*SHELL, *TEXT, "yaml", "toml"}
    shown = {(page.relative_to(ROOT).as_posix(), kind) for page, kind, _ in BLOCKS if kind not in alone}
    listed = {(page, kind): test for page, kinds in RUN.items() for kind, test in kinds.items()}
    assert shown == listed.keys()
    for (page, _), test in listed.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not name {page}"
    assert {reason(line) for _, line in SHOWN} == {None, *NOT_RUN}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.slow
def test_a_study_of_ones_own_as_the_readme_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ("init", "validate", "plan")
    for line in commands(ROOT / "README.md"):
        program, *words = shlex.split(line)
        # a pilot trains on Ray: tests/engine/test_pilot.py
        if program == "orchestrate" and words[0] in quick and "--pilot" not in words:
            assert main(words) == 0, line


def test_the_study_file_in_the_readme_is_valid(tmp_path: Path) -> None:
    [text] = [text for kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "yaml"]
    (tmp_path / "study.yaml").write_text(text)
    assert load_study(tmp_path / "study.yaml").spec.name == "my-study"


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_example_studies_are_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_study(config, cwd=ROOT).entrypoint is not None
