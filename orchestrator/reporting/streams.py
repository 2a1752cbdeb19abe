"""stdout and stderr as everything writes to them: what is shown acts on no terminal and stops no study."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from orchestrator.study.visible import visible

_PLAIN = str.maketrans("–—−‐‑‘’“”„·▶✓■≈✗○●─│▁▂▃▄▅▆▇█", '-----\'\'""".>+#~xo*-|_.,-~=+#') | str.maketrans(
    {"Δ": "D", "±": "+-", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "…": "...", "ρ": "rho", "α": "alpha"}
    | {"σ": "sigma", "µ": "u", "²": "^2", "∞": "inf"}
)
"""What stands for the signs of our own where an encoding lacks them; one character where tables have one."""


def _degraded(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return ascii(error.object[error.start : error.end].translate(_PLAIN))[1:-1], error.end


codecs.register_error("orchestrator.degraded", _degraded)


def fitting(text: str, encoding: str) -> str:
    """Return the text with other signs for those that the encoding lacks."""
    return text.encode(encoding, "orchestrator.degraded").decode(encoding)


class Shown(io.TextIOBase):
    """A stream that escapes what acts on terminals, writes what its encoding has, and never raises.

    `painted` is the same stream for text that was escaped before it was styled. Once the stream is closed,
    full, or its reader gone, what is written goes nowhere, and `lost` says why.
    """

    def __init__(self, stream: TextIO, *, escapes: bool = True, origin: Shown | None = None) -> None:
        self._stream, self._escapes = stream, escapes
        self._origin = origin or self
        self.lost: Exception | None = None
        self.painted: Shown = self if not escapes else Shown(stream, escapes=False, origin=self._origin)

    @classmethod
    def over(cls, stream: TextIO) -> Shown:
        """Return the stream itself, where it is such a one already."""
        return stream if isinstance(stream, Shown) else cls(stream)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream below."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, whatever becomes of it."""
        shown = visible(text) if self._escapes else text
        self._try(lambda: self._stream.write(fitting(shown, self.encoding)))
        return len(text)

    def document(self, text: str) -> None:
        """Write a document for programs: UTF-8, whatever the terminal has."""
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self._try(lambda: self._stream.write(text))
            return
        self.flush()
        self._try(lambda: buffer.write(text.encode("utf-8", "backslashreplace")))

    def flush(self) -> None:
        """Flush, whatever becomes of it."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Whether a terminal is there."""
        return not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """Return that of the stream below."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Tell that it takes text."""
        return True

    def _try(self, act: Callable[[], object]) -> None:
        if self._origin.lost is not None:
            return
        try:
            act()
        except (OSError, ValueError) as error:  # ValueError: somebody has closed it
            self._origin.lost = error
            with suppress(OSError, ValueError):  # else what is still buffered fails once more at the end
                _point(self._stream.fileno(), os.devnull)


@contextmanager
def shown_streams() -> Iterator[Shown]:
    """Put such streams in the place of stdout, which is yielded, and stderr."""
    before = sys.stdout, sys.stderr
    _open_what_is_closed()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        out, err = (Shown.over(stream or nowhere) for stream in before)
        sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
        try:
            yield out
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before


def _open_what_is_closed() -> None:
    """Keep a file of the study from getting the number of a closed stream: what is printed would go there."""
    for number in range(3):
        try:
            if not os.get_blocking(number):
                os.set_blocking(number, True)  # who shares the terminal may have asked not to wait
        except OSError:
            _point(number, os.devnull)


def _point(number: int, path: str) -> None:
    opened = os.open(path, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    else:
        os.set_inheritable(number, True)
