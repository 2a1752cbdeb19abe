"""Simulate the figures of docs/statistics.md and write them into the page.

python docs/simulated.py --studies 4000 --jobs 1

The figures are kept beside the page, in simulated.json; a test compares the two. The page's blocks stand
between `<!-- simulated: NAME -->` and `<!-- end -->`. `--only audit --methods save` measures one part,
for one method, and leaves the other figures as recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.decide.sequential import RESOLVE
from orchestrator.simulate.generator import SCENARIOS, Scenario, scenario, study
from orchestrator.simulate.methods import METHODS, MethodResult, SimulatedDesign, pick, study_file
from orchestrator.simulate.metrics import summarise
from orchestrator.simulate.newdata import Draw, coverage, right_or_wrong, two_way
from orchestrator.simulate.series import Series, judge, run
from orchestrator.stats.descriptions import clopper_pearson

PAGE = Path(__file__).with_name("statistics.md")
RECORD = Path(__file__).with_name("simulated.json")
BLOCK = re.compile(r"(<!-- simulated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOISY = ("grid", "save", "save-1", "screen", "strict")
PLANNED = (2, 3, 4, 6, 8, 12)
FEW = ("grid-1", "save", "reinvest-1")
AUDITED = ("grid", "save", "save-1", "screen", "reinvest")
"""Methods whose noise nobody planned for is shown; of first versions the one that was mended for it."""
MANY = (20, 30)
RARE = {"falls": 4}
"""Scenarios with so many times as many studies as others: fewer would not tell how rare wrong signs are."""
MOST_FALSE, LEAST_COVERAGE, MOST_WRONG = 0.06, 0.95, 0.002
SCREENED = ((20, 5, 0.0), (8, 5, 0.1))
"""Arms, seeds and share of runs that fail: designs for which `goal: screen` is simulated besides."""
MARGIN = 2.0
SAMPLES, SEEDS, SHARES = (100, 1000, 10_000), (2, 3, 4, 5), (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
SKILLS = (0.0, 0.02, 0.1, 0.5)
ONE_EFFECT = Scenario("one effect of four SDs", delta=(4.0,) + (0.0,) * 7, beta=(0.0,) * 8)
# the findings of S1 and one null: every level that a finding frees is at the null's disposal
FOUND = Scenario(
    "one null among findings",
    delta=(0.0, 2.0, -1.0, -2.0, -4.0, -12.0),
    beta=(0.6, 1.0, 0.0, -1.0, 0.0, 0.5),
)


def measure(
    studies: int, jobs: int = 1, only: Sequence[str] = (), methods: Sequence[str] = ()
) -> dict[str, Any]:
    """Every figure of the page, as plain data.

    Args:
        only: the parts, `S1`, `audit`, ...; none means all.
        methods: of these parts, where they compare several; none means all.
    """
    parts = _parts(studies, jobs, set(methods))
    return {"studies": studies, **{name: part() for name, part in parts.items() if not only or name in only}}


def _parts(studies: int, jobs: int = 1, methods: set[str] | None = None) -> dict[str, Callable[[], Any]]:
    def rates(
        truth: Scenario,
        names: Sequence[str] = (),
        design: SimulatedDesign | None = None,
        studies: int = studies,
    ) -> dict[str, Any]:
        series = Series(truth, design or SimulatedDesign(), studies)
        chosen = [one for one in pick(names) if not methods or one.name in methods]
        return {one.method: asdict(one) for one in run(series, chosen, jobs=jobs)}

    def audit() -> dict[str, Any]:
        rows = {}
        for name, truth in unplanned().items():
            count = max(1, studies // 2) * RARE.get(name, 1)
            rows[name] = {"title": _title(name, truth), **rates(truth, AUDITED, studies=count)}
        return {"rows": rows}

    return {
        "S1": partial(rates, scenario("S1")),
        "S2": partial(rates, scenario("S2")),
        "noisy": partial(rates, scenario("S1", noisy=(3, 3.0)), NOISY),
        "margin": lambda: {
            str(seeds): rates(scenario("S1"), ["save"], SimulatedDesign(seeds=seeds, margin=MARGIN))
            for seeds in (5, 12)
        },
        "seeds": lambda: {
            str(seeds): {
                name: rates(scenario(name), ["save"], SimulatedDesign(seeds=seeds))["save"]
                for name in ("S1", "S2")
            }
            for seeds in PLANNED
        },
        "few": lambda: {str(arms): rates(scenario("S2", arms=arms), FEW) for arms in (1, 2, 3, 4)},
        "pool": partial(rates, ONE_EFFECT, ["none"], SimulatedDesign(seeds=3)),
        "null": partial(null_studies, studies),
        "newdata": partial(new_data, studies),
        "screened": partial(screened, max(2, studies // 4)),
        "audit": audit,
    }


def unplanned() -> dict[str, Scenario]:
    """Return the scenarios of the audit by name: noise that nobody planned for, and many arms."""
    cases = {name: truth for name, truth in SCENARIOS.items() if name not in ("S1", "S2")}
    return cases | {f"S2-{arms}": scenario("S2", arms) for arms in MANY}


def _title(name: str, truth: Scenario) -> str:
    return truth.title if name in SCENARIOS else f"{truth.title}, {truth.arms} arms"


def new_data(draws: int) -> dict[str, Any]:
    """How often the intervals for new seeds and new data cover, by what adds how much of the variance."""

    def found(cases: Mapping[float, Draw]) -> dict[str, Any]:
        return {f"{share:g}": asdict(coverage(draw, draws)) for share, draw in cases.items()}

    normal = {
        str(m): {str(n): found({share: two_way(n, m, share) for share in SHARES}) for n in SEEDS}
        for m in SAMPLES
    }
    binary = {str(n): found({sd: right_or_wrong(n, 1000, sd) for sd in SKILLS}) for n in SEEDS}
    return {"draws": draws, "normal": normal, "binary": binary}


def screened(studies: int) -> dict[str, Any]:
    """Return the figures of `goal: screen` for other designs, and where runs fail whatever their arm."""

    def found(truth: Scenario, seeds: int, failing: float) -> dict[str, Any]:
        design, judged = SimulatedDesign(seeds=seeds), list[MethodResult]()
        for index in range(studies):
            made = study(truth, seeds, 0, index)
            failed = np.random.default_rng([0, index, 2]).random(made.pace.shape) < failing
            curves = np.where(failed[:, :, None], np.nan, made.curves)
            judged.append(METHODS["screen"].judge(replace(made, curves=curves), design))
        return asdict(summarise("screen", judged, truth.delta))

    rows = []
    for arms, seeds, failing in SCREENED:
        truths = {name: scenario(name, arms) for name in ("S1", "S2")}
        figures = {name: found(truth, seeds, failing) for name, truth in truths.items()}
        rows.append({"arms": arms, "seeds": seeds, "failing": failing, **figures})
    return {"studies": studies, "rows": rows}


def null_studies(studies: int, design: SimulatedDesign | None = None, seed: int = 0) -> dict[str, Any]:
    """Count what is said about one null component among five that matter.

    It bounds the share of studies that claim an effect of a null (`lo`, `hi`: exact 95 % interval): no more
    than alpha · `studies` are expected.
    """
    given = design or SimulatedDesign()
    found = judge(Series(FOUND, given, studies, seed), ["save"], 0, studies)["save"]
    signs = [int(one.signs[0]) for one in found]
    helps, hurts = signs.count(1), signs.count(-1)
    equivalent = sum(bool(one.equivalent[0]) for one in found)
    lo, hi = clopper_pearson(helps + hurts, studies)
    unresolved = studies - helps - hurts - equivalent
    said = {"helps": helps, "hurts": hurts, "equivalent": equivalent, "unresolved": unresolved}
    return {"method": "save", "studies": studies, **said, "lo": lo, "hi": hi, "alpha": given.alpha}


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """The page's blocks by name, as Markdown."""
    return {
        "rates": _rates(found),
        "pool": _pool(found["pool"]),
        "levels": _levels(),
        "margin": _margin(found["margin"]),
        "null": _null(found["null"]),
        "beyond": f"That is so for {_share(found['S1']['save']['beyond'])} of all arms on S1 (`resolve`).",
        "width": _width(found["S1"]),
        "noisy": _noisy(found["noisy"]),
        "seeds": _seeds(found["seeds"]),
        "few": _few(found["few"]),
        "newdata": _new_data(found["newdata"]),
        "screened": _screened(found["screened"]),
        "audit": _audit(found["audit"]),
    }


def fill(page: str, texts: Mapping[str, str]) -> str:
    """The page with its blocks replaced; KeyError for a block that nobody writes."""
    return BLOCK.sub(lambda match: f"{match[1]}{texts[match[2]]}\n{match[3]}", page)


def _rates(found: Mapping[str, Any]) -> str:
    heads = [*("method", "cost S1", "FWER S1", "FWER S2", "wrong sign S1", "power S1")]
    heads += [*("coverage S1 (worst arm)", "width S1")]
    rows = []
    for name, one in ((name, found["S1"][name]) for name in METHODS if name in found["S1"]):
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
    note = "± is the standard error of the simulation; where nothing was seen, the end of the 95 % interval."
    return f"{found['studies']:,} studies per scenario; {note}\n\n{_markdown(heads, rows)}"


def _pool(found: Mapping[str, Any]) -> str:
    plain, moderated = found["grid-paired"], found["grid"]
    return (
        "Eight arms, three seeds, one effect of four SDs between seeds: the paired t finds it in "
        f"{_share(plain['power'])} of studies, the moderated one in {_share(moderated['power'])} "
        f"(FWER {_share(plain['fwer'])} and {_share(moderated['fwer'])})."
    )


def _levels() -> str:
    design = SimulatedDesign()
    rule = RESOLVE.on_seeds(study_file(design, RESOLVE.name), 8)
    looks, levels = rule.looks, rule.levels(design.alpha)
    return (
        f"Looks after {', '.join(map(str, looks))} seeds at α = {design.alpha:g} have the levels "
        f"{', '.join(f'{level:.4f}' for level in levels)}."
    )


def _margin(found: Mapping[str, Any]) -> str:
    heads = ["seeds", "cost", "truly equivalent arms called so", "studies with a false one", "power"]
    rows = []
    for seeds, methods in found.items():
        one = methods["save"]
        figures = (one["equivalent"], one["false_equivalent"], one["power"])
        rows.append([seeds, _share(one["cost"], 2), *(_share(figure) for figure in figures)])
    return _markdown(heads, rows)


def _null(count: Mapping[str, Any]) -> str:
    claims = count["helps"] + count["hurts"]
    return (
        f"In {count['studies']:,} studies with one component that does nothing (and five that do something), "
        f"*helps* was said of it {count['helps']} times and *hurts* {count['hurts']} times: in "
        f"{claims / count['studies']:.2%} of the studies (95 % interval {count['lo']:.2%} to "
        f"{count['hi']:.2%}), where α allows {count['alpha']:.0%}."
    )


def _width(found: Mapping[str, Any]) -> str:
    grid, save = (found[name]["width"]["value"] for name in ("grid", "save"))
    cost = _share(found["save"]["cost"], 2, error=False)
    return (
        f"On S1 the median interval of `resolve` is {save:.1f} SDs wide, that of the grid {grid:.1f}: "
        f"{save / grid:.1f} times as wide for {cost} of the cost."
    )


def _noisy(found: Mapping[str, Any]) -> str:
    rows = [
        [METHODS[name].title, *(_share(one[key]) for key in ("fwer", "power", "coverage"))]
        for name, one in found.items()
    ]
    return _markdown(["method", "FWER", "power", "coverage"], rows)


def _seeds(found: Mapping[str, Any]) -> str:
    heads = [f"{what} {name}" for what in ("cost", "FWER") for name in ("S1", "S2")]
    rows = []
    for seeds, one in found.items():
        spent = [_share(one[name]["cost"], 2) for name in ("S1", "S2")]
        wrong = [_share(one[name]["fwer"]) for name in ("S1", "S2")]
        rows.append([seeds, *spent, *wrong, *(_share(one["S1"][key]) for key in ("power", "worst_coverage"))])
    return _markdown(["seeds", *heads, "power S1", "coverage S1, worst arm"], rows)


def _few(found: Mapping[str, Any]) -> str:
    rows = [[arms, *(_share(methods[name]["fwer"]) for name in FEW)] for arms, methods in found.items()]
    return _markdown(["arms", *(f"FWER, {METHODS[name].title}" for name in FEW)], rows)


def _audit(found: Mapping[str, Any]) -> str:
    """Return a table for each kind of error, then a sentence for each row with one that is too large."""
    rows = found["rows"]
    names = [name for name in METHODS if name in next(iter(rows.values()))]

    def covered(one: Mapping[str, Any]) -> str:
        return f"{_share(one['coverage'])} ({_share(one['worst_coverage'], error=False)})"

    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "FWER": lambda one: _share(one["fwer"]),
        "coverage (worst arm)": covered,
        "wrong sign": lambda one: _share(one["wrong_sign"], 4),
    }
    tables = []
    for head, cell in cells.items():
        seen = [[row["title"], *(cell(row[name]) for name in names)] for row in rows.values()]
        heads = [head, *(METHODS[name].title for name in names)]
        tables.append(_markdown(heads, [row for row in seen if set(row[1:]) != {"–"}]))
    outside = [f"* {row['title']}: {'; '.join(said)}." for row in rows.values() if (said := [*_outside(row)])]
    return "\n\n".join(
        [
            *tables,
            *_chosen(rows, names),
            f"{_counted(rows, names)} studies in each row. Outside of FWER {MOST_FALSE:g}, coverage "
            f"{LEAST_COVERAGE:g} (all arms; the worst one by more than two standard errors) and wrong sign "
            f"{MOST_WRONG:g}:",
            "\n".join(outside) or "none.",
        ]
    )


def _chosen(rows: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield a table for each method under which some arms have no interval, because of their results."""
    heads = ["of the arms with an interval", "one minus the false coverage rate"]
    for name in names:
        seen = [(row["title"], row[name]) for row in rows.values() if row[name].get("false_coverage")]
        cells = [
            [title, _share(one["coverage"]), _share(_rest(one["false_coverage"]))] for title, one in seen
        ]
        if cells:
            yield _markdown([f"coverage, {METHODS[name].title}", *heads], cells)


def _rest(figure: Mapping[str, Any]) -> dict[str, Any]:
    """One minus a figure."""
    return {**figure, "value": 1 - figure["value"], "lo": 1 - figure["hi"], "hi": 1 - figure["lo"]}


def _counted(rows: Mapping[str, Any], names: Sequence[str]) -> str:
    """Say how many studies there are: `2,000`, or by row or by method where that differs."""
    counts = {name: [row[name]["studies"] for row in rows.values()] for name in names}
    usual = max(min(each) for each in counts.values())
    other = [f"{METHODS[name].title}: {min(each):,}" for name, each in counts.items() if min(each) < usual]
    for row in rows.values():
        most = {row[name]["studies"] for name in names}
        other += [f"{row['title']}: {min(most):,}"] if min(most) > usual else []
    return f"{usual:,} ({'; '.join(other)})" if other else f"{usual:,}"


def _outside(row: Mapping[str, Any]) -> Iterator[str]:
    """Say of each method what errs more often than it may."""
    for name, one in ((name, row[name]) for name in METHODS if name in row):
        said = []
        if one["fwer"] and one["fwer"]["value"] > MOST_FALSE:
            said.append(f"has FWER {_share(one['fwer'])}")
        covered, worst = one["coverage"], one["worst_coverage"]
        if covered and covered["value"] < LEAST_COVERAGE:
            said.append(f"covers {_share(covered)}")
        elif worst and worst["value"] + 2 * (worst["se"] or 0.0) < LEAST_COVERAGE:
            said.append(f"covers {_share(one['worst_coverage'])} of its worst arm")
        if one["wrong_sign"] and one["wrong_sign"]["value"] > MOST_WRONG:
            said.append(f"has a wrong sign in {_share(one['wrong_sign'], 4)}")
        if said:
            yield f"*{METHODS[name].title}* {' and '.join(said)}"


def _screened(found: Mapping[str, Any]) -> str:
    rows = []
    for row in found["rows"]:
        one, two = row["S1"], row["S2"]
        cells = [str(row["arms"]), str(row["seeds"]), f"{row['failing']:.0%}"]
        cells += [_share(each["cost"]) for each in (one, two)]
        cells += [_share(each["fwer"]) for each in (one, two)]
        rows.append([*cells, _share(one["power"]), _share(one["worst_coverage"])])
    heads = ["arms", "seeds", "runs that fail", "cost S1", "cost S2", "FWER S1", "FWER S2"]
    heads += ["power S1", "coverage S1, worst arm"]
    return f"{_markdown(heads, rows)}\n\n{found['studies']:,} studies in each row."


def _new_data(found: Mapping[str, Any]) -> str:
    heads = ["samples", "seeds", *(f"{share:.0%}" for share in SHARES), "Satterthwaite alone", "seeds alone"]
    rows = []
    for samples, by_seeds in found["normal"].items():
        for seeds, cases in by_seeds.items():
            both = [f"{one['both']:.3f}" for one in cases.values()]
            least = [f"{min(one[key] for one in cases.values()):.3f}" for key in ("formula", "seeds")]
            rows.append([f"{int(samples):,}", seeds, *both, *least])
    ones = [one["both"] for cases in found["binary"].values() for one in cases.values()]
    two = [one["both"] for by in found["normal"].values() for one in by["2"].values()]
    more = [
        one["both"]
        for by in found["normal"].values()
        for n, cases in by.items()
        if n != "2"
        for one in cases.values()
    ]
    error = math.sqrt(0.05 * 0.95 / found["draws"])
    return (
        f"{_markdown(heads, rows)}\n\n{found['draws']:,} draws each (± {error:.3f}). "
        f"Three seeds and more cover {min(more):.3f} to {max(more):.3f}, two seeds {min(two):.3f} to "
        f"{max(two):.3f}; scores of 0 and 1 (1,000 samples, two to five seeds) {min(ones):.3f} to "
        f"{max(ones):.3f}."
    )


def _share(figure: Mapping[str, Any] | None, digits: int = 3, *, error: bool = True) -> str:
    if figure is None:
        return "–"
    value = f"{figure['value']:.{digits}f}"
    if not error or figure["se"] is None or figure["lo"] == figure["hi"]:
        return value
    if not figure["value"]:  # a standard error of 0 would claim too much
        return f"{value} (< {figure['hi']:.{digits}f})"
    return f"{value} ± {figure['se']:.{digits}f}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested data in which what is new takes the place of what is old."""
    nested = [key for key in old if isinstance(old[key], Mapping) and isinstance(new.get(key), Mapping)]
    both = {key: merged(old[key], new[key]) for key in nested}
    return {**old, **new, **both}


def main() -> None:
    """Measure, keep the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=(), choices=list(_parts(0)), metavar="PART")
    parser.add_argument("--methods", nargs="+", default=(), metavar="METHOD", help="such as save, of --only")
    chosen = parser.parse_args()
    found = measure(chosen.studies, chosen.jobs, chosen.only, chosen.methods)
    if chosen.only:
        kept = json.loads(RECORD.read_text(encoding="utf-8"))
        found = merged(kept, found) | {"studies": kept["studies"]}
    RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), blocks(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
