"""The book: what Sphinx makes of the documentation, by `make book`. The order of its pages is docs/README.md.

MyST reads Markdown as code hosts do, and checks every link and anchor; a warning fails the build. Furo needs
no font or script from elsewhere: neither the build nor a reader asks the network for anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from orchestrator import __version__

project = "orchestrator"
copyright = "The orchestrator developers"  # noqa: A001 - Sphinx calls it so
version = release = __version__

extensions = ["myst_parser", "pages"]
root_doc = "docs/README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [
    *(".*", "build", "dist", "runs", "checks", "*.egg-info"),
    *("benchmarks", "configs", "orchestrator", "tests", "trials"),
]
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]

html_theme = "furo"
html_title = f"orchestrator {__version__}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_last_updated_fmt = None
highlight_language = "text"
pygments_style = "tango"
pygments_dark_style = "github-dark"
