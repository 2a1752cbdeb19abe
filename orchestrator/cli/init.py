"""`orchestrate init`: the files of a study of one's own, in the order data, model, training."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.fromscript import open_points, study_text
from orchestrator.cli.scriptoptions import read_script
from orchestrator.errors import Fault, InputError

FolderArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FOLDER",
        help="Where to put the files; its name names the study. With --from, the directory of study.yaml "
        "(default: this one).",
    ),
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="SCRIPT", help="Write the study file of a script, from its argparse options."
    ),
]


def command(folder: FolderArgument = None, script: FromOption = None) -> None:
    """Lay out a study of your own.

    Data, model, training, a test that overfits ten samples, and the study file: small, and it works. With
    --from, the study file alone, for a script as it is.
    """
    if script is not None:
        _from_script(script, folder or Path())
        return
    if folder is None:
        hint = "orchestrate init my-study, or orchestrate init --from train.py for a script that you have"
        raise InputError(Fault("name the folder, or a script", field="FOLDER", hint=hint))
    written = scaffold(folder)
    for path in written:
        console.data(str(path))
    console.progress(
        f"\nnext: cd {folder}, read README.md, then\n"
        "  orchestrate check --config study.yaml\n"
        "  orchestrate ablate --config study.yaml"
    )


def _from_script(script: Path, folder: Path) -> None:
    text = read_script(script)
    target = folder / "study.yaml"
    words = shlex.join(["python", Path(os.path.relpath(script, folder)).as_posix()])
    command = words.replace("{", "{{").replace("}", "}}")
    _write({target: study_text(text, command, _study_name(script))})
    console.data(str(target))
    points = "".join(f"  {point}\n" for point in open_points(text))
    there = "" if folder == Path() else f"cd {folder}, "
    console.progress(
        (f"\nto look at:\n{points}" if points else "")
        + f"\nnext: {there}name the components in study.yaml, then\n"
        "  orchestrate validate --config study.yaml\n"
        "  orchestrate ablate --config study.yaml"
    )


def _study_name(script: Path) -> str:
    """Return the script's name, or that of its directory where it is called what all are called."""
    path = script.resolve()
    word = path.parent.name if path.stem in ("train", "main", "run", "__main__") else path.stem
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", word).strip("-_.")
    return name[:60] or "study"


def scaffold(folder: Path) -> list[Path]:
    """Write the files and return their paths.

    Raises:
        InputError: the folder cannot name a study, or a file is there already (then nothing is written).
    """
    name = folder.resolve().name
    words = {"{{name}}": name, "{{package}}": package_name(name)}
    content: dict[Path, str] = {}
    for relative, source in _templates(files("orchestrator.cli").joinpath("scaffold")):
        parts = [words["{{package}}"] if part == "package" else part for part in relative.parts]
        text = source.read_text(encoding="utf-8")
        for placeholder, word in words.items():
            text = text.replace(placeholder, word)
        content[folder.joinpath(*parts)] = text
    _write(content)
    return list(content)


def _write(content: dict[Path, str]) -> None:
    taken = [path for path in content if path.exists()]
    if taken:
        raise InputError([Fault("this file is there already", file=str(path)) for path in taken])
    for path, text in content.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(Fault(f"cannot be written: {error.strerror}", file=str(path))) from error


def package_name(study: str) -> str:
    """`my-study` -> `my_study`. Raises `InputError` when the name cannot become a Python package's."""
    word = re.sub(r"[^0-9a-z]+", "_", study.lower()).strip("_")
    word = f"study_{word}" if word[:1].isdigit() or keyword.iskeyword(word) else word
    if not word or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", study):
        hint = "use letters, digits, '-' and '_', such as my-study"
        raise InputError(Fault("this cannot name a study", field="FOLDER", value=study, hint=hint))
    return word


def _templates(folder: Traversable, below: Path = Path()) -> Iterator[tuple[Path, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, below / entry.name)
        else:
            # a template is no Python until it is filled in
            yield below / entry.name.removesuffix(".in"), entry
