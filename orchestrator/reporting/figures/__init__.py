"""Figures for papers and slides, drawn with matplotlib: the same report gives the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.reporting import palette
from orchestrator.reporting.model import ReportedEvaluation, StudyReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
Draw = Callable[[StudyReport, ReportedEvaluation], "Figure | None"]

_STYLE = {
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#22262c",
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.w_pad": 0.14,
    "figure.dpi": 100,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "svg.hashsalt": "orchestrator",
    "text.parse_math": False,
    "xtick.color": "#4a505a",
    "xtick.labelsize": 8,
    "ytick.color": "#22262c",
    "ytick.labelsize": 8,
}
_DATELESS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def headline(figure: Figure, text: str, size: float = 10) -> None:
    """Write what a figure shows above it, from its left edge."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=size)


def grid(axes: Any, axis: str = "both") -> None:
    """Draw light lines behind everything else."""
    axes.grid(axis=axis, color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)


def rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a figure; the first one stands at the bottom."""
    axes.set_yticks(range(len(names)), [palette.short(name) for name in names])
    axes.tick_params(axis="y", length=0)


def draw_figures(
    report: StudyReport, formats: tuple[str, ...] = FORMATS, only: Collection[str] = ()
) -> dict[str, bytes]:
    """File name -> content of every figure that the report has data for, or of those in `only`.

    Those of a second evaluation carry its phase in their names. Needs the extra [report].
    """
    import matplotlib as mpl

    files: dict[str, bytes] = {}
    # "default" first: what a user has set in matplotlibrc must not change the figures
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn instead
        for name, figure in _all(report, only):
            for _ in range(2):  # sizes and places depend on each other
                figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, the same in every format
            for kind in formats:
                target = io.BytesIO()
                figure.savefig(target, format=kind, metadata=_DATELESS[kind])
                files[f"{name}.{kind}"] = target.getvalue()
    return files


def _all(report: StudyReport, only: Collection[str]) -> Iterator[tuple[str, Figure]]:
    from orchestrator.reporting.figures import course, effects

    drawn: dict[str, Draw] = {
        "forest": effects.forest,
        "seeds": effects.seeds,
        "interactions": effects.interactions,
        "deltas": course.deltas,
        "curves": course.curves,
        "variance": course.variance,
    }
    for index, evaluation in enumerate(report.evaluations):
        for name, draw in drawn.items():
            if (not only or name in only) and (figure := draw(report, evaluation)) is not None:
                yield f"{name}-{evaluation.phase}" if index else name, figure
    if not only or "ledger" in only:
        yield "ledger", course.ledger(report)
