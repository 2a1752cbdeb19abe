"""CIFAR-10 and CIFAR-100 from files that the user has: nothing is downloaded.

Three forms are read, by what lies at the path:
    the official python archive (`cifar-10-python.tar.gz`, `cifar-100-python.tar.gz`), packed or unpacked
    a directory with parquet files whose names begin with train and test (an image column, a label column)
    a directory of images: train/<class>/*.png and test/<class>/*.png
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

IMAGE = "image"
LABEL = "label"

SIZE = 32
_TRAIN_FILES = ("train", "data_batch")
_TEST_FILES = ("test", "val")
_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("fine_label", "label")

Table = dict[str, Tensor]


def read_cifar(path: str) -> dict[str, Table]:
    """{"train", "test"}: image [N, 3, 32, 32] uint8, label [N] int64.

    Raises:
        FileNotFoundError: nothing lies at `path`.
        ValueError: what lies there has none of the three forms, or lacks training or test images.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(
            f"data.path: nothing lies at {place} (seen from {Path.cwd()}); give an absolute path to "
            "cifar-10-python.tar.gz or cifar-100-python.tar.gz (from "
            "https://www.cs.toronto.edu/~kriz/cifar.html), to parquet files, or to a directory of images"
        )
    if place.is_file():
        return _tables(place, _archived(place))
    if any(place.rglob("*.parquet")):
        return _tables(place, _parquet(place))
    if (place / "train").is_dir():
        return _tables(place, _image_folders(place))
    return _tables(place, _unpacked(place))


def _tables(place: Path, parts: Iterator[tuple[str, np.ndarray, list[int]]]) -> dict[str, Table]:
    """Join the parts of each set: (file name, pixels [n, 3, 32, 32] uint8, labels)."""
    pixels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for name, images, classes in parts:
        part = "train" if name.startswith(_TRAIN_FILES) else "test"
        pixels[part].append(images)
        labels[part].extend(classes)
    missing = [part for part, found in pixels.items() if not found]
    if missing:
        raise ValueError(
            f"data.path: {place} holds no {' and no '.join(missing)} images; valid: the official python "
            "archive, train*.parquet and test*.parquet, or train/<class>/ and test/<class>/ with images"
        )
    return {
        part: {IMAGE: torch.from_numpy(np.concatenate(pixels[part])), LABEL: torch.tensor(labels[part])}
        for part in pixels
    }


# --- the official archive ------------------------------------------------------------------------------


def _archived(file: Path) -> Iterator[tuple[str, np.ndarray, list[int]]]:
    with tarfile.open(file) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            name = Path(member.name).name
            content = archive.extractfile(member) if _is_batch(name) else None
            if content is not None:
                yield name, *_batch(content)


def _unpacked(folder: Path) -> Iterator[tuple[str, np.ndarray, list[int]]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _is_batch(file.name):
            with file.open("rb") as content:
                yield file.name, *_batch(content)


def _is_batch(name: str) -> bool:
    return name.startswith("data_batch_") or name in ("test_batch", "train", "test")


def _batch(content: Any) -> tuple[np.ndarray, list[int]]:
    """One pickled dict: data [n, 3072] uint8 (red, green, blue planes), labels or fine_labels."""
    batch = _ArraysOnly(content).load()
    labels = batch[b"fine_labels"] if b"fine_labels" in batch else batch[b"labels"]
    return np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, SIZE, SIZE), list(labels)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers, strings, lists and dicts; refuses a pickle that wants to call anything else."""

    def __init__(self, content: BinaryIO) -> None:
        super().__init__(content, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """Raise UnpicklingError for everything that an array does not need."""
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a CIFAR batch holds arrays only, this one asks for {module}.{name}")


# --- other forms ---------------------------------------------------------------------------------------


def _parquet(folder: Path) -> Iterator[tuple[str, np.ndarray, list[int]]]:
    import pyarrow.parquet as pq

    for file in sorted(folder.rglob("*.parquet")):
        if not file.name.startswith((*_TRAIN_FILES, *_TEST_FILES)):
            continue
        table = pq.read_table(file)
        image, label = (
            next((name for name in wanted if name in table.column_names), None)
            for wanted in (_IMAGE_COLUMNS, _LABEL_COLUMNS)
        )
        if image is None or label is None:
            raise ValueError(
                f"{file} has the columns {', '.join(table.column_names)}; needed: one of "
                f"{', '.join(_IMAGE_COLUMNS)} and one of {', '.join(_LABEL_COLUMNS)}"
            )
        pixels = [_decoded(cell) for cell in table[image].to_pylist()]
        yield file.name, np.stack(pixels), table[label].to_pylist()


def _decoded(cell: Mapping[str, Any] | bytes) -> np.ndarray:
    """[3, 32, 32] uint8 from an encoded image, bare or as {"bytes": ...}."""
    return _pixels(io.BytesIO(cell if isinstance(cell, bytes) else cell["bytes"]))


def _image_folders(folder: Path) -> Iterator[tuple[str, np.ndarray, list[int]]]:
    """Yield each picture with its class, numbered by the names of the training directories in both sets."""
    classes = sorted(place.name for place in (folder / "train").iterdir() if place.is_dir())
    for part in ("train", "test", "val"):
        for label, name in enumerate(classes):
            files = sorted((folder / part / name).glob("*.png"))
            if files:
                yield part, np.stack([_pixels(file) for file in files]), [label] * len(files)


def _pixels(source: Path | io.BytesIO) -> np.ndarray:
    """[3, 32, 32] uint8."""
    from PIL import Image

    with Image.open(source) as image:
        if image.size != (SIZE, SIZE):
            raise ValueError(
                f"an image of {image.size[0]}×{image.size[1]} pixels; CIFAR's have {SIZE}×{SIZE}"
            )
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
