"""The code of the README and of the pages on storage and plain functions works as it stands there."""

from __future__ import annotations

import ast
import inspect
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

import orchestrator
from orchestrator.record.storage import Backend, Storage

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """Return the blocks of Python of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_readme(study: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: `run` on Ray is that of docs/python.md."""
    [block] = blocks("README.md")
    named = {**study, "name": "my-study", "seeds": 5, "stopping": {**study["stopping"], "rule": "resolve"}}
    Path("study.yaml").write_text(yaml.safe_dump(named), encoding="utf-8")
    here = block.replace("study.run()", "orchestrator.run_local(study, progress='none')")
    assert here != block
    names: dict[str, Any] = {"orchestrator": orchestrator}
    exec(compile(here, "README.md", "exec"), names)
    assert [cell.seed for cell in names["study"].plan.cells if cell.arm == "baseline"] == [0, 1, 2]
    assert names["result"].counts["done"] >= 4


def test_promises_of_a_storage_of_ones_own() -> None:
    [block] = blocks("docs/storage.md")

    def memory(uri: str) -> Backend:
        assert uri == "ipfs://test"
        return Storage.open(f"memory:///{uuid.uuid4().hex}").backend

    names: dict[str, Any] = {"Ipfs": memory}
    exec(compile(block, "docs/storage.md", "exec"), names)
    assert names["PROMISES"]
    for promise in names["PROMISES"]:
        names["test_promises"](promise)


@pytest.mark.slow
def test_ray_data_has_what_plain_functions_call() -> None:
    """Names and arguments; tests/engine/test_datasets.py runs such functions on Ray."""
    import ray.data
    import ray.train

    [block] = blocks("docs/plain-functions.md")
    found = {}
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found[ast.unparse(node.func)] = node
    called = {
        "ray.data.read_parquet": ray.data.read_parquet,
        "ray.data.read_parquet(config['data']['path']).random_shuffle": ray.data.Dataset.random_shuffle,
        "ray.train.get_dataset_shard": ray.train.get_dataset_shard,
        "shard.iter_torch_batches": ray.data.DataIterator.iter_torch_batches,
    }
    assert found.keys() == called.keys()
    for name, node in found.items():
        given = {keyword.arg: None for keyword in node.keywords}
        inspect.signature(called[name]).bind_partial(*(None for _ in node.args), **given)
