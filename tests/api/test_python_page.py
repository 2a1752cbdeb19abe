"""`docs/python.md`: every block of it runs, from top to bottom."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
FILE = re.compile(r"# (\w+\.py)\n")


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_ray: str) -> None:
    import ray

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in a script: some of Ray's own code warns
        ray.init(address=shared_ray, log_to_driver=False)
        try:
            for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
                file = FILE.match(block)
                if file:
                    Path(file.group(1)).write_text(block, encoding="utf-8")
                else:
                    exec(compile(block, str(PAGE), "exec"), names)
            assert ray.is_initialized()
        finally:
            ray.shutdown()
            sys.modules.pop("descent", None)
