"""The templates of pages: everything is escaped, nothing hides, and a name that a page misses is an error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.study.visible import shortened, visible

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def page_template(name: str, package: str = "orchestrator.reporting", most: int | None = None) -> Template:
    """Return a file of `templates/` in a package. Needs jinja2, of the extras [report] and [web].

    Control characters and marks that turn the direction of text are shown as escapes, unless a template says
    `| e`; a text ends after `most` characters, if that is given.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def shown(value: Any) -> Any:
        if type(value) is not str:  # what is escaped already has a type of its own
            return value
        if most is not None and len(value) > most:
            value = shortened(" ".join(value.split()), most)
        return visible(value)

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
