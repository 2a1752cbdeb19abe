"""Which part of a config goes to a LightningModule, its DataModule and the Trainer; no Lightning needed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.training.lightning.arguments import divide


class Model:
    def __init__(self, hidden: int, lr: float = 1e-3, seed: int = 0) -> None: ...


class Data:
    def __init__(self, batch_size: int = 32) -> None: ...


class Anything:
    def __init__(self, **kwargs: Any) -> None: ...


class Whole:
    def __init__(self, config: dict[str, Any]) -> None: ...


CONFIG: dict[str, Any] = {
    "model": {"hidden": 8},
    "optim": {"lr": 0.1},
    "data": {"batch_size": 4},
    "trainer": {"gradient_clip_val": 0.5},
    "seed": 3,
    "max_length": 5,
}


def test_arguments_are_found_by_name() -> None:
    found = divide(CONFIG, Model, Data)
    assert found.module == {"hidden": 8, "lr": 0.1, "seed": 3}
    assert found.data == {"batch_size": 4}
    assert found.trainer == {"gradient_clip_val": 0.5}


def test_top_level_keys_and_whole_sections() -> None:
    assert divide({"hidden": 8, "seed": 1}, Model, None).module == {"hidden": 8, "seed": 1}
    assert divide(CONFIG, Whole, Data).module == {"config": CONFIG}
    assert divide({"hidden": {"a": 1}}, Model, None).module == {"hidden": {"a": 1}}
    assert divide({"model": {"x": 1}, "y": 2}, Anything, None).module == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model": {"hiden": 8}},
            "no argument of Model is called 'hiden' (config key model.hiden); did you mean",
        ),
        ({"model": {"hiden": 8}}, "Model needs 'hidden', which no key of the config is called"),
        (
            {"optim": {"lr": 0.1, "hidden": 9}},
            "config key optim.hidden: Model has 'hidden' from another section",
        ),
        ({"data": {"size": 4}}, "no argument of Data is called 'size'"),
        ({"trainer": {"max_epochs": 3}}, "trainer.max_epochs is decided by stopping.max in the study file"),
        ({"trainer": {"strategy": "horovod"}}, "trainer.strategy is 'horovod'; on Ray it is one of ddp"),
    ],
)
def test_what_nobody_takes_is_an_error(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        divide({**CONFIG, **change}, Model, Data)
