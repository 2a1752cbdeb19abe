"""Writing every form of a report into the study's directory."""

from __future__ import annotations

import importlib.util
import json

from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.reporting.bibliography import to_bibtex
from orchestrator.reporting.effects_json import to_json
from orchestrator.reporting.latex import methods_latex, to_latex
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.methods import with_new_data
from orchestrator.reporting.model import StudyReport
from orchestrator.study.methods import cited

EXTRA = ("jinja2", "matplotlib")
"""What the extra [report] brings."""


def missing_extra() -> str | None:
    """One line that says what is not written and how to get it; None where the extra is installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"report.html and figures/ are not written: {', '.join(missing)} not installed "
        "(pip install 'orchestrator[report]')"
    )


def write_report(
    storage: Storage, paths: StudyPaths, report: StudyReport, *, for_print: bool = True
) -> str | None:
    """Write all forms, each file atomically; returns what `missing_extra` says.

    `report` should have its curves (`curves.with_curves`); without them the figures of curves are left out.
    `for_print`: figures as PDF and PNG too, which take longer than all else. Without it only those forms that
    are there are drawn again.
    """
    text = json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    storage.write_atomic(paths.effects_json, f"{text}\n")
    storage.write_atomic(paths.report_md, to_markdown(report))
    storage.write_atomic(paths.table_tex, to_latex(report))
    storage.write_atomic(paths.slim_tex, to_latex(report, slim=True))
    storage.write_atomic(paths.methods_tex, methods_latex(report))
    storage.write_atomic(paths.references_bib, to_bibtex(cited(with_new_data(report))))
    missing = missing_extra()
    if missing is None:
        from orchestrator.reporting.figures import FORMATS, PAGE_FORMAT, draw_charts
        from orchestrator.reporting.page import to_html

        there = {entry.name.rpartition(".")[2] for entry in storage.list(paths.figure(""))}
        kinds = tuple(kind for kind in FORMATS if for_print or kind == PAGE_FORMAT or kind in there)
        charts = draw_charts(report, kinds)
        for chart in charts:
            for kind, content in chart.files.items():
                storage.write_atomic(paths.figure(f"{chart.name}.{kind}"), content)
        storage.write_atomic(paths.report_html, to_html(report, charts))
    return missing
