"""How a study was done, as a paper says it: sentences, each with the publications of what it names.

Rules, goals, designs and searches say their own (`methods`), those of other packages too; the report puts
them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Publication:
    """Something that can be cited.

    `key`, `kind`, `fields`: of its BibTeX entry, in plain text (`2^(k−p)` is set as a power); `short`: how a
    text without a bibliography names it, `Holm, 1979`.
    """

    key: str
    kind: str
    short: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Sentence:
    """One sentence in the past tense, without its full stop; what it cites stands at its end."""

    text: str
    cites: tuple[Publication, ...] = ()


@dataclass(frozen=True)
class Paragraph:
    """Sentences, and the word that says what they are about."""

    about: str
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """The paragraph as plain text, with what it cites in brackets."""
        return " ".join(map(_written, self.sentences))


def _written(sentence: Sentence) -> str:
    cited = "; ".join(one.short for one in sentence.cites)
    return f"{sentence.text} ({cited})." if cited else f"{sentence.text}."


def cited(paragraphs: Iterable[Paragraph]) -> list[Publication]:
    """Return what paragraphs cite, once each, in the order of their short names."""
    found = {one.key: one for each in paragraphs for sentence in each.sentences for one in sentence.cites}
    return sorted(found.values(), key=lambda one: (one.short.casefold(), one.key))
