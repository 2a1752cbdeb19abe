"""The curves of a trial as a table of text, for those who plot by themselves: `step,time,tag,value`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from orchestrator.record.loggers import FileLogger
from orchestrator.record.storage import Storage


class CsvFile(FileLogger):
    """`curves.csv`, with a head and a row per value; of attempt 2 `curves.a2.csv`, from where it goes on.

    On object stores, where nothing can be appended to a file, it comes in numbered segments.
    """

    def __init__(self, storage: Storage, folder: str, attempt: int, purge_step: int = 0) -> None:  # noqa: ARG002
        # what an earlier attempt wrote from `purge_step` on lies in its own file
        name = "curves.csv" if attempt <= 1 else f"curves.a{attempt}.csv"
        new = not storage.grown(f"{folder}/{name}")
        self._file = storage.appender(f"{folder}/{name}")
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text, lineterminator="\n")
        if new:
            self._rows.writerow(("step", "time", "tag", "value"))

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """One row per value."""
        self._rows.writerows((step, f"{time_s:.3f}", tag, repr(value)) for tag, value in values.items())

    def write(self) -> None:
        text = self._text.getvalue()
        if text:
            self._file.write(text.encode())
            self._text.seek(0)
            self._text.truncate()

    def sync(self) -> None:
        self.write()
        self._file.sync()

    def close(self) -> None:
        self.sync()
        self._file.close()
