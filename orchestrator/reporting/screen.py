"""Rich for our streams: text is escaped before it is laid out, so only rich itself speaks to the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orchestrator.reporting.streams import Shown, fitting
from orchestrator.study.visible import shortened, visible


class Screen(Console):
    """A console on a stream. `width` where no terminal says it."""

    def __init__(self, stream: TextIO, *, width: int | None = None) -> None:
        painted = cast("TextIO", Shown.over(stream).painted)
        super().__init__(file=painted, width=width, highlight=False, emoji=False)

    def fitting(self, text: str) -> str:
        """Return a text as it can be shown here."""
        return fitting(shortened(visible(text)), self.encoding)

    def render_str(self, text: str, **options: Any) -> Text:
        """Lay out a string that can be shown."""
        return super().render_str(self.fitting(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Lay out what can be shown of a renderable."""
        if isinstance(renderable, Text) and (fits := self.fitting(renderable.plain)) != renderable.plain:
            kept = {
                "justify": renderable.justify,
                "overflow": renderable.overflow,
                "no_wrap": renderable.no_wrap,
            }
            renderable = Text(fits, renderable.style, **kept)  # type: ignore[arg-type]
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
