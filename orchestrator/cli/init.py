"""`orchestrate init`: the files of a study of one's own, in the order data, model, training."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.errors import Fault, InputError

FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where to put the files; its name names the study.")
]


def command(folder: FolderArgument) -> None:
    """Lay out a study of your own.

    Data, model, training, a test that overfits ten samples, and the study file: small, and it works.
    """
    written = scaffold(folder)
    for path in written:
        console.data(str(path))
    console.progress(
        f"\nnext: cd {folder}, read README.md, then\n"
        "  orchestrate check --config study.yaml\n"
        "  orchestrate ablate --config study.yaml"
    )


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
    taken = [path for path in content if path.exists()]
    if taken:
        raise InputError([Fault("this file is there already", file=str(path)) for path in taken])
    for path, text in content.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(Fault(f"cannot be written: {error.strerror}", file=str(path))) from error
    return list(content)


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
