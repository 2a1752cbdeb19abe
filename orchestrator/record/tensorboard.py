"""TensorBoard event files of one trial: tensorboardX's messages, written without its multiprocessing queue.

One event carries all scalars of a step. Later attempts write a new file that sorts after the earlier ones and
starts with a session mark, so that TensorBoard drops what a crashed attempt wrote beyond its checkpoint.
"""

from __future__ import annotations

import io
import json
import math
import re
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import google_crc32c
import numpy as np

from orchestrator.record.loggers import FileLogger
from orchestrator.record.storage import Storage
from orchestrator.study.changes import leaves

_BINS = 30
_FILE = re.compile(r"events\.out\.tfevents\.(\d+)\..*")


class EventFile(FileLogger):
    """One event file; what earlier ones have from `purge_step` on is hidden. Not thread-safe."""

    def __init__(self, storage: Storage, folder: str, attempt: int, purge_step: int = 0) -> None:
        # imported here: tensorboardX imports torch when it is installed
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        names = [entry.name for entry in storage.list(folder)]
        earlier = [int(match.group(1)) for match in map(_FILE.fullmatch, names) if match]
        # names decide the order of reading, and the clocks of two nodes may differ
        stamp = max([int(time.time()), *(second + 1 for second in earlier)])
        name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.a{attempt}"
        self._appender = storage.appender(f"{folder}/{name}")
        self._frames: list[bytes] = []
        now = time.time()
        self._add(self._event(wall_time=now, file_version="brain.Event:2"))
        # in the first file too: TensorBoard takes only the second mark that it sees for a restart
        mark = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(self._event(wall_time=now, step=purge_step, session_log=mark))

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """One point per tag."""
        points = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._show(points, step, time_s)

    def text(self, tag: str, value: str, step: int, time_s: float) -> None:
        from tensorboardX.summary import text

        self._show(text(tag, value), step, time_s)

    def png(self, tag: str, image: bytes, step: int, time_s: float, channels: int = 3) -> None:
        """Write a picture, as a PNG file."""
        width, height = struct.unpack(">II", image[16:24])  # of its first chunk, which is the header
        picture = self._summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=image
        )
        self._show([self._summary.Value(tag=tag, image=picture)], step, time_s)

    def image(self, tag: str, value: Any, step: int, time_s: float) -> None:
        from PIL import Image

        pixels = value() if callable(value) else value
        channels = pixels.shape[2]
        png = io.BytesIO()
        # little compression: half the time for a third more bytes
        Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(
            png, format="PNG", compress_level=1
        )
        self.png(tag, png.getvalue(), step, time_s, channels)

    def histogram(self, tag: str, value: Any, step: int, time_s: float) -> None:
        """Write the distribution of the finite ones among numbers, [N]; nothing when there are none."""
        from tensorboardX.summary import histogram

        numbers = np.asarray(value, dtype=np.float64).reshape(-1)
        finite = numbers[np.isfinite(numbers)]
        if finite.size:
            self._show(histogram(tag, finite, bins=_BINS), step, time_s)

    def pr_curve(self, tag: str, value: Mapping[str, Any], step: int, time_s: float) -> None:
        from tensorboardX.summary import pr_curve_raw

        tp, fp, tn, fn = (value[name] for name in ("tp", "fp", "tn", "fn"))
        precision = tp / (tp + fp).clip(1)
        recall = tp / (tp + fn).clip(1)
        self._show(pr_curve_raw(tag, tp, fp, tn, fn, precision, recall, num_thresholds=len(tp)), step, time_s)

    def began(self, config: Mapping[str, Any], metrics: Sequence[str], time_s: float) -> None:
        """Make the trial one row of the HParams tab: its flat config and the tags that show its metrics."""
        from tensorboardX.summary import hparams

        names = [f"final/{name}" for name in metrics]
        experiment, start, _ = hparams(flat_config(config), dict.fromkeys(names, 0.0))
        for summary in (experiment, start):
            self._show(summary, None, time_s)

    def ended(self, finals: Mapping[str, float], step: int, success: bool, time_s: float) -> None:
        """Close the trial's row."""
        from tensorboardX.proto.api_pb2 import Status
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
        from tensorboardX.proto.summary_pb2 import SummaryMetadata

        if finals:
            self.scalars({f"final/{name}": float(value) for name, value in finals.items()}, step, time_s)
        status = Status.Value("STATUS_SUCCESS" if success else "STATUS_FAILURE")
        content = HParamsPluginData(session_end_info=SessionEndInfo(status=status), version=0)
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content.SerializeToString())
        metadata = SummaryMetadata(plugin_data=plugin)
        self._show([self._summary.Value(tag="_hparams_/session_end_info", metadata=metadata)], None, time_s)

    def write(self) -> None:
        if self._frames:
            self._appender.write(b"".join(self._frames))
            self._frames.clear()

    def sync(self) -> None:
        self.write()
        self._appender.sync()

    def close(self) -> None:
        self.sync()
        self._appender.close()

    def _show(self, summary: Any, step: int | None, time_s: float) -> None:
        """One event with a summary, or with the values of one."""
        whole = self._summary(value=summary) if isinstance(summary, list) else summary
        at = {} if step is None else {"step": step}
        self._add(self._event(wall_time=time_s, summary=whole, **at))

    def _add(self, event: Any) -> None:
        self._frames.append(_frame(event.SerializeToString()))


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested config -> dotted keys with values that HParams can hold (bool, number, string)."""
    return {
        name: value if isinstance(value, (bool, int, float, str)) else json.dumps(value, default=str)
        for name, value in leaves(config)
        if not isinstance(value, Mapping)  # an empty section
    }


def as_float(value: Any) -> float | None:
    """Return a scalar as a float; None for text, for NaN there is NaN."""
    if isinstance(value, str):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan if isinstance(value, int) else None


def _frame(data: bytes) -> bytes:
    """One TFRecord: length, its checksum, data, its checksum."""
    return frame_head(len(data)) + data + _checksum(data)


@lru_cache(maxsize=4096)
def frame_head(length: int) -> bytes:
    """Return what a record of so many bytes begins with."""
    head = struct.pack("<Q", length)
    return head + _checksum(head)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated as TFRecord files have it; tensorboardX's own is Python, byte by byte."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
