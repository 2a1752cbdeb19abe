"""The templates of pages: everything is escaped, and a name that a page misses is an error."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def page_template(name: str, package: str = "orchestrator.reporting") -> Template:
    """Return a file of `templates/` in a package. Needs jinja2, of the extras [report] and [web]."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
