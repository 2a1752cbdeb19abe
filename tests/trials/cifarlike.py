"""Tiny data sets in the forms that CIFAR is kept in: ten classes of coloured waves.

python tests/trials/cifarlike.py stand-in.tar.gz    the stand-in of docs/examples/cifar.md
"""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np

CLASSES = 10


def pictures(
    count: int, seed: int, noise_sd: float = 50.0, faintest: float = 1.0
) -> tuple[np.ndarray, list[int]]:
    """Pixels [N, 3, 32, 32] uint8 whose colour and wave length tell the class, with noise; labels.

    A picture in a mirror, or moved, still shows its class. The contrast of each is drawn between `faintest`
    and 1: the faintest are drowned by the noise, so that accuracy has an upper end below 1.
    """
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    y, x = np.mgrid[0:32, 0:32]
    waves = 0.25 * (1 + labels % 5)[:, None, None]  # radians per pixel
    phase = 6.28 * draws.random((2, count, 1, 1))
    wave = 40 * (np.sin(waves * x + phase[0]) + np.sin(waves * y + phase[1]))
    colour = (
        np.where(labels < 5, 1.0, -1.0)[:, None, None, None] * np.array([30.0, 0.0, -30.0])[:, None, None]
    )
    contrast = draws.uniform(faintest, 1.0, (count, 1, 1, 1))
    noise = draws.normal(0, noise_sd, (count, 3, 32, 32))
    return np.clip(128 + contrast * (wave[:, None] + colour) + noise, 0, 255).astype(
        np.uint8
    ), labels.tolist()


def cifar10_archive(file: Path, per_batch: int = 40, noise_sd: float = 50.0, faintest: float = 1.0) -> Path:
    """`cifar-10-python.tar.gz`: two training batches and a test batch."""
    with tarfile.open(file, "w:gz") as archive:
        for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
            pixels, labels = pictures(per_batch, number, noise_sd, faintest)
            add(archive, f"cifar-10-batches-py/{name}", {b"data": flat(pixels), b"labels": labels})
        add(archive, "cifar-10-batches-py/batches.meta", {b"label_names": [b"a"]})
    return file


def cifar100_archive(file: Path) -> Path:
    """`cifar-100-python.tar.gz`: the fine labels count."""
    with tarfile.open(file, "w:gz") as archive:
        for number, name in enumerate(("train", "test")):
            pixels, labels = pictures(20, number)
            content = {b"data": flat(pixels), b"fine_labels": labels, b"coarse_labels": [0] * len(labels)}
            add(archive, f"cifar-100-python/{name}", content)
    return file


def flat(pixels: np.ndarray) -> np.ndarray:
    """[N, 3072]."""
    return pixels.reshape(len(pixels), -1)


def add(archive: tarfile.TarFile, name: str, content: object) -> None:
    """One pickle, in the protocol of the official files."""
    packed = pickle.dumps(content, protocol=2)
    member = tarfile.TarInfo(name)
    member.size = len(packed)
    archive.addfile(member, io.BytesIO(packed))


def png(pixels: np.ndarray) -> bytes:
    """One image [3, 32, 32] as a file."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(packed, format="png")
    return packed.getvalue()


if __name__ == "__main__":
    cifar10_archive(Path(sys.argv[1]), per_batch=1000, noise_sd=40.0, faintest=0.0)
