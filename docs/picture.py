"""Draw the report of a study as the picture in the README.

python docs/picture.py runs/digits docs/images/report.svg
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from orchestrator.api.recorded import open_study
from orchestrator.reporting.terminal import render


def draw(study: str, target: Path) -> None:
    """Write the terminal report of `study` (a run directory) to `target` as SVG; loads no fonts."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$[/bold] orchestrate report {Path(study).name}")
    report = open_study(study, "runs").report(curves=False)
    console.print(render(replace(report, location=f"runs/{Path(study).name}", is_local=False)))
    layout = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    layout = layout.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    target.write_text(console.export_svg(title="orchestrate", theme=MONOKAI, code_format=layout))


if __name__ == "__main__":
    draw(sys.argv[1], Path(sys.argv[2]))
