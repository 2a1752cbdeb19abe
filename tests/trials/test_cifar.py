"""The CIFAR example: every form of the files, the network, what each key does."""

import copy
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cifarlike import add, cifar10_archive, cifar100_archive, pictures, png

from orchestrator.training.local import run_local
from trials.cifar import IMAGE, LABEL, Cifar, ResNet
from trials.cifarfiles import read_cifar


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cifar10_archive(tmp_path_factory.mktemp("cifar") / "cifar-10-python.tar.gz")


def config(archive: Path, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "seed": 0,
        "data": {
            "path": str(archive),
            "limit": None,
            "batch_size": 24,
            "crop_flip": True,
            "mixup": True,
            "wrong_labels": 0.0,
            "channels": "rgb",
        },
        "model": {"width": 8, "stages": 2, "batchnorm": True, "dropout": 0.1},
        "optim": {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4, "schedule": "cosine"},
        "train": {"val_batch_every": 0},
    }
    made = copy.deepcopy(made)
    for name, value in changes.items():
        section, key = name.split("__")
        made[section][key] = value
    return made


# --- files ---------------------------------------------------------------------------------------------


def test_the_official_archive_packed_and_unpacked(archive: Path, tmp_path: Path) -> None:
    tables = read_cifar(str(archive))
    pixels, labels = zip(*(pictures(40, number) for number in (0, 1)), strict=True)
    assert torch.equal(tables["train"][IMAGE], torch.cat([torch.from_numpy(part) for part in pixels]))
    assert tables["train"][LABEL].tolist() == [*labels[0], *labels[1]]
    assert tables["test"][IMAGE].shape == (40, 3, 32, 32)
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = read_cifar(str(tmp_path))
    assert torch.equal(unpacked["train"][IMAGE], tables["train"][IMAGE])


def test_the_fine_labels_of_cifar_100(tmp_path: Path) -> None:
    tables = read_cifar(str(cifar100_archive(tmp_path / "cifar-100-python.tar.gz")))
    assert tables["train"][LABEL].tolist() == pictures(20, 0)[1]


@pytest.mark.parametrize(("image", "label"), [("img", "label"), ("image", "fine_label")])
def test_parquet_files(image: str, label: str, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        pixels, labels = pictures(10, number)
        cells = [{"bytes": png(one), "path": None} for one in pixels]
        pq.write_table(pa.table({image: cells, label: labels}), tmp_path / f"{part}-00000-of-00001.parquet")
    tables = read_cifar(str(tmp_path))
    pixels, labels = pictures(10, 0)
    assert torch.equal(tables["train"][IMAGE], torch.from_numpy(pixels))
    assert tables["train"][LABEL].tolist() == labels


def test_directories_of_images(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        for index, (pixels, label) in enumerate(zip(*pictures(20, number), strict=True)):
            folder = tmp_path / part / f"class-{label}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index}.png").write_bytes(png(pixels))
    tables = read_cifar(str(tmp_path))
    assert tables["train"][LABEL].tolist() == sorted(pictures(20, 0)[1])
    assert torch.equal(tables["test"][IMAGE][0], torch.from_numpy(pictures(20, 1)[0][0]))


def test_a_batch_that_wants_more_than_arrays_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as packed:
        add(packed, "cifar-10-batches-py/data_batch_1", {b"data": Path("/tmp"), b"labels": []})
    with pytest.raises(pickle.UnpicklingError, match="holds arrays only, this one asks for pathlib"):
        read_cifar(str(tmp_path / "bad.tar.gz"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.path: nothing lies at .*nowhere"):
        read_cifar(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="holds no train and no test images; valid: the official python"):
        read_cifar(str(tmp_path))


# --- training ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_component_changes_the_curve(archive: Path) -> None:
    arms: list[dict[str, Any]] = [
        {},
        {"data__mixup": False},
        {"data__crop_flip": False},
        {"model__batchnorm": False},
        {"model__dropout": 0.0},
        {"optim__weight_decay": 0.0},
        {"optim__schedule": "constant"},
        {"model__stages": 1},
        {"model__width": 16},
        {"data__wrong_labels": 0.4},
        {"data__channels": "bgr"},
    ]
    losses = [
        run_local(Cifar, config(archive, data__limit=96, **arm), max_length=1)[-1]["train/loss"]
        for arm in arms
    ]
    assert len(set(losses)) == len(arms)


def test_the_full_network_is_a_resnet_18() -> None:
    model = ResNet(classes=10, width=64, stages=4, batchnorm=True, dropout=0.0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_173_962
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    shortcuts = [module for module in layers if getattr(module, "kernel_size", None) == (1, 1)]
    assert len(layers) - len(shortcuts) == 18


def test_the_crippled_network_shares_the_first_stages(archive: Path) -> None:
    def first_weights(stages: int) -> dict[str, torch.Tensor]:
        task = Cifar(config(archive, model__stages=stages))
        task.split_data(task.build_data(task.config), task.streams.generator("split"))
        model = task.build_model(task.config)
        task.init_weights(model, task.streams)
        return {name: value for name, value in model.named_parameters() if not name.startswith("head")}

    short, whole = first_weights(1), first_weights(3)
    assert short.keys() < whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in short.items())


def test_wrong_labels_are_in_training_only(archive: Path) -> None:
    def split(share: float) -> dict[str, dict[str, torch.Tensor]]:
        task = Cifar(config(archive, data__wrong_labels=share))
        return task.split_data(task.build_data(task.config), task.streams.generator("split"))

    right, wrong = split(0.0), split(0.5)
    assert torch.equal(right["val"][LABEL], wrong["val"][LABEL])
    assert 0.25 < float((right["train"][LABEL] != wrong["train"][LABEL]).float().mean()) < 0.65


def test_the_order_of_the_colours_is_turned_round_in_both_sets(archive: Path) -> None:
    def split(channels: str) -> dict[str, dict[str, torch.Tensor]]:
        task = Cifar(config(archive, data__channels=channels))
        return task.split_data(task.build_data(task.config), task.streams.generator("split"))

    usual, turned = split("rgb"), split("bgr")
    for part in ("train", "val"):
        assert torch.equal(usual[part][IMAGE].flip(1), turned[part][IMAGE])
        assert torch.equal(usual[part][LABEL], turned[part][LABEL])
    with pytest.raises(ValueError, match=r"data\.channels is 'grb'; valid: rgb, bgr"):
        split("grb")


def test_impossible_depths_are_named(archive: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.stages is 5; valid: 1 to 4"):
        run_local(Cifar, config(archive, model__stages=5), max_length=1)
