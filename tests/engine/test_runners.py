"""What an entrypoint may be, and what is said of one that nearly is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engine.runners import Code, runner_of

SOURCE = """
import functools, importlib.util
from orchestrator import Task

class Digits(Task): ...
class Almost:
    def build_data(self): ...
    def loss(self): ...
class Lit:
    def training_step(self): ...
class Nothing: ...
class Callable:
    def __call__(self, config): ...
class AsyncCallable:
    async def __call__(self, config): ...
def train(config): ...
def none(): ...
def options(config, *, fast=False, **more): ...
def two(config, model): ...
async def waits(config): ...
def yields(config):
    yield {}
number = 7
made = Digits.__new__(Digits)
callable_one, async_one = Callable(), AsyncCallable()
partial = functools.partial(two, model=None)
half = functools.partial(two)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kinds_of_code.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("Digits", "a subclass of orchestrator.Task"),
        *((name, "a Ray Train function") for name in ("train", "none", "options", "callable_one", "partial")),
    ],
)
def test_what_is_one(code: Path, name: str, noun: str) -> None:
    assert runner_of(Code(f"kinds_of_code:{name}", code)).noun.startswith(noun)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nothing", "is the class Nothing; an entrypoint is a subclass of orchestrator.Task, a Light"),
        ("Almost", "it has build_data and loss: derive it from orchestrator.Task"),
        ("Lit", "it has training_step: derive it from lightning.pytorch.LightningModule"),
        ("made", "is an instance of Digits; name the class: every trial makes its own"),
        ("number", "is an object of type int; an entrypoint is"),
        ("importlib", "is a module; name what is in it, module:name"),
        ("two", "takes config, model; it is called with the config alone"),
        ("half", "takes config, model"),
        ("waits", "is async, and nothing would await it"),
        ("async_one", "is async"),
        ("yields", "has a yield, so that calling it runs nothing"),
    ],
)
def test_what_is_none_is_told_how_to_become_one(code: Path, name: str, said: str) -> None:
    with pytest.raises(TypeError, match=r"kinds_of_code:" + name) as caught:
        runner_of(Code(f"kinds_of_code:{name}", code))
    assert said in str(caught.value)


@pytest.mark.slow
def test_what_trains_without_torch_is_known_without_it(tmp_path: Path) -> None:
    """Else every start of a study of a plain function or a command would wait two seconds for it."""
    (tmp_path / "plain.py").write_text("def train(config): ...\n")
    program = (
        "import sys\nfrom pathlib import Path\nfrom orchestrator.engine.runners import Code, runner_of\n"
        "for entrypoint in ('plain:train', {'command': 'true'}):\n"
        "    runner_of(Code(entrypoint, Path.cwd()))\n"
        "sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


def test_a_datamodule_goes_with_a_lightning_module(code: Path) -> None:
    with pytest.raises(TypeError, match=r"goes with a LightningModule, but .*:train is a Ray Train"):
        runner_of(Code("kinds_of_code:train", code, datamodule="kinds_of_code:Nothing"))


def test_a_mapping_that_no_runner_takes(code: Path) -> None:
    with pytest.raises(TypeError, match="is a mapping that nothing takes; an entrypoint is"):
        runner_of(Code({"notebook": "train.ipynb"}, code))


def test_a_command_is_one(code: Path) -> None:
    assert runner_of(Code({"command": "true"}, code)).noun.startswith("a command")
