"""Do what docs/tutorial.md says, line by line; put into it what is printed, and its figures into docs/images.

python docs/tutorial.py

The study itself runs in this process, with threads for workers, and takes a minute: record, decisions and
report are those of Ray.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import chdir, closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from shades import in_both

from orchestrator.api.recorded import open_study
from orchestrator.engine.inprocess import run_in_process
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

PAGE = Path(__file__).with_suffix(".md")
CODE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"<!-- tutorial: \w+ -->\n.*?<!-- end -->\n", re.DOTALL)
HERE_ONLY = re.compile(r"^(program|slots|estimate|storage|start): .*\n", re.MULTILINE)
"""Lines of a plan that are about a machine."""


def steps() -> list[tuple[str, str]]:
    """What the page says to write and to run, in its order: (kind of block, text)."""
    return CODE.findall(SAID.sub("", PAGE.read_text(encoding="utf-8")))


def follow(folder: Path) -> dict[str, str]:
    """Do all of it in a directory `digits`; what the page shows of it, by name.

    Raises:
        CalledProcessError: a command has failed.
    """
    said: dict[str, str] = {}
    with chdir(folder):
        for kind, text in steps():
            if kind == "python":
                Path("train.py").write_text(text, encoding="utf-8")
            elif kind == "yaml":
                Path("study.yaml").write_text(text, encoding="utf-8")
            elif kind == "sh":
                for line in text.splitlines():
                    _, *words = shlex.split(line)
                    _run_study() if words[0] == "ablate" else _keep(said, words)
    return said


def _keep(said: dict[str, str], words: list[str]) -> None:
    name = "latex" if "--latex" in words else words[0]
    printed = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    if name == "init":
        printed = Path("study.yaml").read_text(encoding="utf-8")
    elif name == "report":
        printed = "\n\n".join(printed.split("\n\n")[:3])  # headline, table, claims
    said.setdefault(name, HERE_ONLY.sub("", printed).strip() + "\n")


def _run_study() -> None:
    spec = load_study(Path("study.yaml"), cwd=Path.cwd()).spec
    storage = Storage.open(Path(spec.storage).absolute())
    with closing(StudyRecord.open(storage, spec, make_plan(spec), Start("code"))) as record:
        run_in_process(spec, record, code_root=Path.cwd())
    open_study(spec.name).report(write=True, for_print=False)


KINDS = {"init": "yaml", "plan": "text", "report": "text", "latex": "latex"}
"""What the page shows, each with the language of its block."""


def filled_in(said: dict[str, str]) -> str:
    """The page with what the commands have said."""
    page = PAGE.read_text(encoding="utf-8")
    for name, language in KINDS.items():
        block = f"<!-- tutorial: {name} -->\n```{language}\n{said[name]}```\n<!-- end -->\n"
        place = re.compile(rf"<!-- tutorial: {name} -->\n.*?<!-- end -->\n", re.DOTALL)
        page = place.sub(lambda _, new=block: new, page)
    return page


def figures(folder: Path) -> dict[str, Path]:
    """The figures that the study has left, by their names in docs/images."""
    return {f"figures-{path.name}": path for path in folder.glob("runs/digits/figures/*.svg")}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as above:
        digits = Path(above, "digits")
        digits.mkdir()
        PAGE.write_text(filled_in(follow(digits)), encoding="utf-8")
        for name, path in figures(digits).items():
            svg = in_both(path.read_text(encoding="utf-8"))
            (PAGE.parent / "images" / name).write_text(svg, encoding="utf-8")
