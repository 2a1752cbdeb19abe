"""Charts for papers, slides and the page, drawn with matplotlib: the same report gives the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.reporting import palette
from orchestrator.reporting.model import ReportedEvaluation, StudyReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
PAGE_FORMAT = "svg"
"""What report.html is made of."""
Said = tuple[str, str]
"""What is told where the pointer rests on a mark, and the directory that a click opens; "" for none."""


MOST_ARMS = 40
"""In a figure: with more, nobody can read it, and drawing it takes minutes."""


class Marks(dict[str, Sequence[Said]]):
    """What the marks of a figure tell a reader of the page, by their ids in its SVG."""

    def put(self, artist: Any, *said: Said) -> None:
        """Let an artist tell something, or each of its points."""
        artist.set_gid(f"mark-{len(self)}")
        self[artist.get_gid()] = said


Draw = Callable[[StudyReport, ReportedEvaluation, Marks], "Figure | None"]


@dataclass(frozen=True)
class Drawn:
    """A chart as files, by format. `name`: of the files; `phase`: of its evaluation, None for the study's."""

    name: str
    title: str
    phase: str | None
    files: dict[str, bytes]
    marks: Marks


_STYLE = {
    "axes.edgecolor": palette.AXIS,
    "axes.labelcolor": palette.INK,
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
    "text.color": palette.INK,
    "text.parse_math": False,
    "xtick.color": palette.QUIET,
    "xtick.labelsize": 8,
    "ytick.color": palette.INK,
    "ytick.labelsize": 8,
}
_DATELESS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def headline(figure: Figure, text: str, size: float = 10) -> None:
    """Write what a figure shows above it, from its left edge."""
    figure.suptitle(palette.short(text, 400), x=0.01, ha="left", fontsize=size, wrap=True)


def grid(axes: Any, axis: str = "both") -> None:
    """Draw light lines behind everything else."""
    axes.grid(axis=axis, color=palette.GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a figure; the first one stands at the bottom."""
    axes.set_yticks(range(len(names)), [palette.short(name) for name in names])
    axes.tick_params(axis="y", length=0)


def draw_figures(
    report: StudyReport, formats: tuple[str, ...] = FORMATS, only: Collection[str] = ()
) -> dict[str, bytes]:
    """File name -> content of every figure that the report has data for, or of those in `only`."""
    charts = draw_charts(report, formats, only)
    return {f"{chart.name}.{kind}": content for chart in charts for kind, content in chart.files.items()}


def draw_charts(
    report: StudyReport, formats: tuple[str, ...] = FORMATS, only: Collection[str] = ()
) -> list[Drawn]:
    """Draw everything that the report has data for, each chart once for all formats.

    Those of a second evaluation carry its phase in their names. Needs the extra [report].
    """
    import matplotlib as mpl

    charts: list[Drawn] = []
    # "default" first: what a user has set in matplotlibrc must not change the figures
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn instead
        for name, title, phase, figure, marks in _all(report, only):
            for _ in range(2):  # sizes and places depend on each other
                figure.draw_without_rendering()
            figure.set_layout_engine(None)  # laid out once; "none" would draw each format twice
            files = {}
            for kind in formats:
                target = io.BytesIO()
                figure.savefig(target, format=kind, metadata=_DATELESS[kind])
                files[kind] = target.getvalue()
            charts.append(Drawn(name, title, phase, files, marks))
    return charts


def _all(report: StudyReport, only: Collection[str]) -> Iterator[tuple[str, str, str | None, Figure, Marks]]:
    from orchestrator.reporting.figures import assumptions, course, effects

    drawn: dict[str, tuple[str, Draw]] = {
        "forest": ("Forest plot", effects.forest),
        "seeds": ("Seed by seed", effects.seeds),
        "interactions": ("Interactions", effects.interactions),
        "deltas": ("Δ over rungs", course.deltas),
        "curves": ("Learning curves", course.curves),
        "variance": ("Variance", course.variance),
        "assumptions": ("Assumptions", assumptions.assumptions),
    }
    cut = f"; the {MOST_ARMS} arms of {len(report.arms)} whose Δ is largest, the tables have all"
    cut, report = ("", report) if len(report.arms) <= MOST_ARMS else (cut, _bounded(report))
    for index, evaluation in enumerate(report.evaluations):
        for name, (title, draw) in drawn.items():
            marks = Marks()
            if (not only or name in only) and (figure := draw(report, evaluation, marks)) is not None:
                phase = evaluation.phase
                yield f"{name}-{phase}" if index else name, title, phase, _said(figure, cut), marks
    if not only or "ledger" in only:
        yield "ledger", "Cost", None, _said(course.ledger(report, marks := Marks()), cut), marks


def _said(figure: Figure, cut: str) -> Figure:
    if cut:
        headline(figure, f"{figure.get_suptitle()}{cut}")
    return figure


def _bounded(report: StudyReport) -> StudyReport:
    """Return the report with as many arms as a figure can show: those whose effects stand first in tables."""
    effects = [effect.arm for effect in report.ordered(report.first.effects)]
    place = {name: place for place, name in reversed(list(enumerate(effects)))}
    chosen = sorted(report.arms, key=lambda arm: place.get(arm.arm, len(effects)))[:MOST_ARMS]
    kept = {report.reference.arm, *(arm.arm for arm in chosen)}
    evaluations = tuple(
        replace(
            one,
            samples={arm: sample for arm, sample in one.samples.items() if arm in kept},
            effects=tuple(effect for effect in one.effects if report.averaged or effect.arm in kept),
            interactions=tuple(report.ordered(one.interactions)[:MOST_ARMS]),
            curves=tuple(curve for curve in one.curves if curve.arm in kept),
            deltas=tuple(delta for delta in one.deltas if delta.arm in kept),
        )
        for one in report.evaluations
    )
    arms = tuple(arm for arm in report.arms if arm.arm in kept)
    shown = replace(report, arms=arms, evaluations=evaluations)
    vars(shown).update(scale=report.scale, curve_scale=report.curve_scale)  # as in the tables
    return shown
