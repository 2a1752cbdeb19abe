"""What travels to the head: the code directory and the study file, in one archive named by its content.

Exactly what a study ships to its workers anyway (`record.codearchive`): Python and small text files, no
data, no hidden files, no run directories. Relative positions stay as they are, so every message names the
files as the user knows them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Fault, InputError
from orchestrator.record.codearchive import hash_of, pack_files, read_code
from orchestrator.record.layout import safe_name
from orchestrator.study.entrypoint import EntrypointSource
from orchestrator.study.imported import counted_files
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Parcel:
    """An archive (tar.gz), the directory below `~/.orchestrate` that it becomes, and the one to start from.

    `identity` names what makes the study: what its entrypoint imports and its study files, without what lies
    beside them.
    """

    archive: bytes
    digest: str
    identity: str
    directory: str
    folder: str


def pack(
    spec: StudySpec,
    source: EntrypointSource,
    study_files: Sequence[Path],
    cwd: Path,
    exclude: Sequence[Path] = (),
) -> Parcel:
    """Pack the entrypoint's code without what is in `exclude`, and the study file with those it extends.

    Raises:
        InputError: the study file lies elsewhere than beside or below the current directory or the code.
        StudyError: the directory is too big to be code.
    """
    cwd = cwd.resolve()
    files = [(cwd / path).parent.resolve() / path.name for path in study_files]
    roots = [] if "site-packages" in source.root.parts else [source.root.resolve()]
    base = Path(os.path.commonpath([cwd, *roots]))
    members: dict[str, bytes] = {}
    identity = hashlib.sha256()
    for root in roots:
        below = root.relative_to(base)
        code = read_code(root, exclude, source.named)
        members |= {(below / name).as_posix(): data for name, data in code.items()}
        identity.update(hash_of(code, counted_files(code, spec)).encode())
    for path in files:
        if not path.is_relative_to(base):
            hint = f"keep it below {base}, or start the command from a directory above both"
            raise InputError(Fault("the study file lies outside of what travels", file=str(path), hint=hint))
        members[path.relative_to(base).as_posix()] = path.read_bytes()
        identity.update(path.read_bytes() + b"\0")
    archive = pack_files(members)
    digest = hashlib.sha256(archive).hexdigest()
    directory = f"~/.orchestrate/code/{safe_name(spec.name)}/{digest[:16]}"
    folder = cwd.relative_to(base).as_posix()
    return Parcel(archive, digest, identity.hexdigest(), directory, folder)
