"""Calls that turn data into code do not occur: read from the syntax trees of everything that is shipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file for part in ("orchestrator", "trials", "benchmarks") for file in (ROOT / part).rglob("*.py")
)
FORBIDDEN = {
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pickle.load", "pickle.loads",
    "dill.load", "dill.loads", "joblib.load", "marshal.loads", "cloudpickle.loads", "cloudpickle.load",
    "shelve.open", "os.system", "os.popen", "eval", "exec", "tempfile.mktemp",
}  # fmt: skip


def _faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN:
            yield f"{node.lineno}: {name}"
        if name == "torch.load" and given.get("weights_only") != "True":
            yield f"{node.lineno}: torch.load without weights_only=True"
        if name.endswith(".load") and given.get("allow_pickle", "False") != "False":
            yield f"{node.lineno}: allow_pickle"
        if given.get("shell", "False") != "False":
            yield f"{node.lineno}: shell"
        if name.endswith(".extractall"):
            yield f"{node.lineno}: extractall"


OWN = {"orchestrator/training/loading/_worker.py": "pickle.load"}
"""What the process that started this one has written, in a directory that its user alone can enter."""


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_data_stay_data(file: Path) -> None:
    own = OWN.get(str(file.relative_to(ROOT)))
    assert [one for one in _faults(ast.parse(file.read_text())) if one.partition(": ")[2] != own] == []


@pytest.mark.parametrize(
    "text",
    [
        "yaml.load(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "run(x, shell=True)",
        "eval(x)",
    ],
)
def test_the_test_sees_them(text: str) -> None:
    assert list(_faults(ast.parse(text)))
