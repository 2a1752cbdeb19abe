"""Simulate the figures of docs/statistics.md and write them into the page.

python docs/simulated.py --studies 2000 --jobs 1

The figures are kept beside the page, in simulated.json; a test compares the two. The page's blocks stand between
`<!-- simulated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.simulate.generator import Scenario, scenario
from orchestrator.simulate.methods import METHODS, Design, pick
from orchestrator.simulate.nulls import null_studies
from orchestrator.simulate.series import Series, run

PAGE = Path(__file__).with_name("statistics.md")
RECORD = Path(__file__).with_name("simulated.json")
BLOCK = re.compile(r"(<!-- simulated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOISY = ("grid", "save", "strict")
MARGIN = 2.0


def measure(studies: int, jobs: int = 1) -> dict[str, Any]:
    """Every figure of the page, as plain data."""

    def rates(truth: Scenario, methods: Sequence[str] = (), design: Design | None = None) -> dict[str, Any]:
        series = Series(truth, design or Design(), studies)
        return {one.method: asdict(one) for one in run(series, pick(methods), jobs=jobs)}

    return {
        "studies": studies,
        "S1": rates(scenario("S1")),
        "S2": rates(scenario("S2")),
        "noisy": rates(scenario("S2", noisy=(2, 3.0)), NOISY),
        "margin": {
            str(seeds): rates(scenario("S1"), ["save"], Design(seeds=seeds, margin=MARGIN))
            for seeds in (5, 12)
        },
        "null": asdict(null_studies(studies)),
    }


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """The page's blocks by name, as Markdown."""
    return {
        "rates": _rates(found),
        "noisy": _noisy(found),
        "margin": _margin(found),
        "null": _null(found["null"]),
    }


def fill(page: str, texts: Mapping[str, str]) -> str:
    """The page with its blocks replaced; KeyError for a block that nobody writes."""
    return BLOCK.sub(lambda match: f"{match[1]}{texts[match[2]]}\n{match[3]}", page)


def _rates(found: Mapping[str, Any]) -> str:
    head = "method | cost S1 | FWER S1 | FWER S2 | wrong sign S1 | power S1 | coverage S1 (worst arm) | width S1"
    rows = []
    for name, one in found["S1"].items():
        coverage = f"{_share(one['coverage'])} ({_share(one['worst_coverage'], error=False)})"
        cells = [
            METHODS[name].title,
            _share(one["cost"], 2),
            _share(one["fwer"]),
            _share(found["S2"][name]["fwer"]),
            _share(one["wrong_sign"]),
            _share(one["power"]),
            coverage,
            f"{one['width']['value']:.1f}",
        ]
        rows.append(cells)
    return f"{found['studies']:,} studies per scenario, ± standard error.\n\n{_markdown(head, rows)}"


def _noisy(found: Mapping[str, Any]) -> str:
    rows = [
        [METHODS[name].title, _share(one["fwer"]), _share(one["coverage"])]
        for name, one in found["noisy"].items()
    ]
    return _markdown("method | FWER | coverage", rows)


def _margin(found: Mapping[str, Any]) -> str:
    rows = [
        [seeds, _share(one["save"]["cost"], 2), _share(one["save"]["equivalent"]), *_false(one["save"])]
        for seeds, one in found["margin"].items()
    ]
    return _markdown("seeds | cost | equivalent arms called so | studies with a false one | power", rows)


def _false(one: Mapping[str, Any]) -> list[str]:
    return [_share(one["false_equivalent"]), _share(one["power"])]


def _null(count: Mapping[str, Any]) -> str:
    claims = count["helps"] + count["hurts"]
    return (
        f"In {count['studies']:,} studies with one component that does nothing (and five that do something), "
        f"*helps* was said of it {count['helps']} times and *hurts* {count['hurts']} times: "
        f"{claims / count['studies']:.2%} of the studies (95 % interval {count['lo']:.2%} to {count['hi']:.2%})."
    )


def _share(figure: Mapping[str, Any] | None, digits: int = 3, *, error: bool = True) -> str:
    if figure is None:
        return "–"
    value = f"{figure['value']:.{digits}f}"
    return f"{value} ± {figure['se']:.{digits}f}" if error and figure["se"] is not None else value


def _markdown(head: str, rows: Sequence[Sequence[str]]) -> str:
    columns = head.split(" | ")
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure, keep, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    found = measure(chosen.studies, chosen.jobs)
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), blocks(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
