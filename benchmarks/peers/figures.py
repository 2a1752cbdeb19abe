"""Medians, ratios and the table of the comparison. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

OURS = "this project, none"
"""What ratios are taken over."""
BEGIN, END = "<!-- peers -->\n", "<!-- end -->"
NOT_MEASURED = "Not measured yet.\n"
HEAD = (
    *("way", "runs", "wall time: median", "smallest – largest", "ratio", "CPU time", "ratio"),
    *("memory, at most", "ratio", "processes", "trials ended / stopped / lost", "told"),
)
Row = dict[str, Any]


def in_turn(ways: Sequence[str], repetition: int) -> list[str]:
    """The order of a repetition: each begins with another way, so that none is always the first."""
    first = repetition % len(ways) if ways else 0
    return [*ways[first:], *ways[:first]]


def summaries(runs: Sequence[Row]) -> list[Row]:
    """One row per way of a case, in the order in which they come; runs without a result count for none."""
    ways = list(dict.fromkeys(run["way"] for run in runs))
    rows = [_summary(way, [run for run in runs if run["way"] == way]) for way in ways]
    base = next((row for row in rows if row["way"] == OURS), {})
    for row in rows:
        for figure in ("wall_s", "cpu_s", "memory_mib"):
            row[f"{figure}_ratio"] = ratio(row[figure], base.get(figure))
    return rows


def _summary(way: str, runs: Sequence[Row]) -> Row:
    whole = [run for run in runs if run["told"] is None]
    told = list(dict.fromkeys(run["told"] for run in runs if run["told"] is not None))
    row: Row = {"way": way, "runs": len(runs), "whole": len(whole), "told": told}
    for figure in ("wall_s", "cpu_s", "memory_mib", "processes", "ended", "stopped"):
        row[figure] = statistics.median(run[figure] for run in whole) if whole else None
    row["range_s"] = (
        [min(run["wall_s"] for run in whole), max(run["wall_s"] for run in whole)] if whole else None
    )
    lost = [
        run["lost"] for run in runs if run["lost"] is not None and not str(run["told"]).startswith("cannot")
    ]
    row["lost"] = max(lost, default=None)
    return row


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times the base; None where one of the two is missing."""
    return None if value is None or not base else value / base


def same_values(runs: Sequence[Row]) -> tuple[int, int]:
    """Of how many trials all runs have the same last value, and how many have several."""
    seen: dict[str, set[float]] = {}
    times: dict[str, int] = {}
    for run in runs:
        for trial, value in run["values"].items():
            seen.setdefault(trial, set()).add(value)
            times[trial] = times.get(trial, 0) + 1
    several = [trial for trial, count in times.items() if count > 1]
    return sum(len(seen[trial]) == 1 for trial in several), len(several)


def table(rows: Sequence[Row]) -> str:
    """The rows of one case as Markdown."""
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 2), "---")]
    for row in rows:
        span = row["range_s"]
        counts = (
            "–" if row["ended"] is None else f"{row['ended']:g} / {row['stopped']:g} / {row['lost'] or 0:g}"
        )
        runs = f"{row['whole']} of {row['runs']}"
        lines.append(
            (
                *(row["way"], runs, _seconds(row["wall_s"])),
                "–" if span is None else f"{_seconds(span[0])} – {_seconds(span[1])}",
                *(_times(row["wall_s_ratio"]), _seconds(row["cpu_s"]), _times(row["cpu_s_ratio"])),
                "–" if row["memory_mib"] is None else f"{row['memory_mib']:,.0f} MiB",
                *(
                    _times(row["memory_mib_ratio"]),
                    "–" if row["processes"] is None else f"{row['processes']:g}",
                ),
                *(counts, "; ".join(row["told"]).replace("|", "\\|")),
            )
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def drawn(measured: Mapping[str, Any] | None) -> str:
    """All tables as Markdown; `measured` as the runner saves it, None where nothing was measured."""
    if measured is None:
        return NOT_MEASURED
    parts = [f"{measured['machine']}.\n"]
    for case, runs in measured["cases"].items():
        length, _, workers = case.rpartition("-")
        same, several = same_values(runs)
        parts.append(f"**{length} trials, {workers} worker{'s' if workers != '1' else ''} each**\n")
        parts.append(table(summaries(runs)))
        parts.append(f"The last value is the same, bit for bit, in {same} of {several} trials.\n")
    return "\n".join(parts)


def written_into(page: str, text: str) -> str:
    """The page with the text between its marks; raises ValueError where they are missing."""
    before, mark, rest = page.partition(BEGIN)
    if not mark or END not in rest:
        raise ValueError(f"the page has no {BEGIN.strip()} ... {END}")
    return f"{before}{mark}{text}{rest[rest.index(END) :]}"
