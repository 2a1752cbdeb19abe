"""The methods of a study for a paper: paragraphs in plain words, of what was registered and what is recorded.

Rules, goals, designs and searches say their own sentences; here is what all studies have. Nothing is said
that neither the study file nor the record tells.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Sequence

from orchestrator.decide.states import Cause, TrialState
from orchestrator.decide.stopping import rule_of, stopping_rule
from orchestrator.record.recorded import RecordedEnvironment, RecordedHardware
from orchestrator.record.state import TrialRecord
from orchestrator.reporting import numbers, words
from orchestrator.reporting.model import StudyReport
from orchestrator.stats.moderated import Pooling
from orchestrator.stats.results import DETERMINISTIC, RUNG_ONLY
from orchestrator.study.cells import TUNE, Plan, evaluation_seeds
from orchestrator.study.command import CommandSpec
from orchestrator.study.methods import Paragraph, Publication, Sentence
from orchestrator.study.publications import (
    FALSE_DISCOVERY,
    HOLM,
    PYTORCH,
    RAY,
    SATTERTHWAITE,
    SCHUIRMANN,
    SEARLE,
    SMYTH,
    STUDENT,
)
from orchestrator.study.publications import (
    TUNE as RAY_TUNE,
)
from orchestrator.study.registered import SEARCHES, design_of
from orchestrator.study.spec import StudySpec

_MOST_ARMS = 20
_SOURCES = ("repository", "source", "homepage")
"""Labels of a package's URL that lead to its code."""
_ENDS = {
    TrialState.DONE: "reached their end",
    TrialState.STOPPED: "were stopped by the rule",
    TrialState.DIVERGED: "diverged",
    TrialState.FAILED: "failed",
    TrialState.CANCELLED: "were cancelled",
    TrialState.SKIPPED: "were not needed",
    TrialState.RUNNING: "are running",
    TrialState.PENDING: "are left to do",
}
_CAUSES = {
    Cause.USER: "an error of the code",
    Cause.OOM: "memory",
    Cause.SHORT: "an end before full length",
    Cause.HANG: "silence",
    Cause.INFRA: "infrastructure",
}
_OUTCOMES = (Cause.USER, Cause.OOM, Cause.SHORT)


def methods_of(
    report: StudyReport, spec: StudySpec, plan: Plan, runs: Sequence[TrialRecord], env: RecordedEnvironment
) -> tuple[Paragraph, ...]:
    """Return the paragraphs; `report` has its effects, `runs` are all trials of the plan."""
    families = [len(family) for family in report.first.families]
    paragraphs = {
        "Design": (*design_of(spec).methods(spec, plan.arms), *_compared(report, spec)),
        "Search": tuple(_search(spec)),
        "Stopping": rule_of(spec).methods(spec, families),
        "Analysis": tuple(_analysis(report, spec)),
        "Runs": tuple(_what_ran(report, spec, runs)),
        "Software and hardware": tuple(_where(spec, runs, env)),
    }
    return tuple(Paragraph(about, said) for about, said in paragraphs.items() if said)


# -- what was compared ---------------------------------------------------------------------------------------


def _compared(report: StudyReport, spec: StudySpec) -> Iterator[Sentence]:
    arms = [arm.called for arm in report.arms]
    more = f" and {len(arms) - _MOST_ARMS} more" if len(arms) > _MOST_ARMS else ""
    if arms:
        were = "arms were" if len(arms) > 1 else "arm was"
        yield Sentence(f"The {were}: {', '.join(arms[:_MOST_ARMS])}{more}")
    seeds = evaluation_seeds(spec)
    most = "at most " if rule_of(spec).sequential else ""
    listed = ", ".join(map(str, seeds))
    if len(seeds) == 1:
        yield Sentence(f"Every arm was to be run under one seed ({listed})")
    else:
        yield Sentence(
            f"Every arm was to be run under {most}{len(seeds)} seeds ({listed}), in this order and the "
            "same for all arms, so that runs of two arms under one seed are a pair"
        )
    yield Sentence(
        f"A run had a full length of {numbers.quantity(report.max_length, report.unit)}, and its outcome was "
        f"{_outcome(spec)}; {numbers.better(report)} is better"
    )
    if spec.metric.also:
        yield Sentence(f"Described beside it, without any test: {', '.join(spec.metric.also)}")
    yield Sentence(
        f"Metric, direction, seeds, level{'' if report.margin is None else ', margin'}, design and "
        f"stopping rule were registered before the first run (plan {report.plan_hash})"
    )


def _outcome(spec: StudySpec) -> str:
    """Return what a run counts with: `its last value of val/acc`."""
    metric = spec.metric
    mean = f"the mean of its last {metric.average_last} values"
    if metric.test is None:
        if metric.at == "best":
            of = f" among means of {metric.average_last} values in a row" if metric.average_last > 1 else ""
            return f"the best value of {metric.name}{of}, chosen and claimed on the same data"
        of = mean if metric.average_last > 1 else "its last value"
        return f"{of} of {metric.name}"
    where = f"in the report where {metric.name} was best" if metric.at == "best" else "in its last report"
    if metric.average_last > 1:
        where += f" (mean over {metric.average_last} reports that end there)"
    return f"{metric.test} {where}, {metric.name} serving for all choices"


def _search(spec: StudySpec) -> Iterator[Sentence]:
    tune = spec.tune
    if tune is None or not tune.searches:
        return
    search = SEARCHES.get(tune.search)
    keys = ", ".join(tune.space)
    yield Sentence(
        f"Before the comparison {words.count(search.samples(tune), 'setting')} of {keys} were tried "
        f"in every arm, the reference included, under seed {tune.seed}, which no evaluation used"
    )
    yield search.methods(tune)
    samples = stopping_rule(tune.stopping.rule)
    if samples.stops_at_rungs:
        rungs = samples.describe_rungs(spec, tune.stopping)
        yield Sentence(
            f"Samples were stopped by the rule {samples.name}, against samples of the same arm only: {rungs}",
            samples.published,
        )
    yield Sentence(
        "An arm's winner was its best sample of full length, which was run again under fresh seeds"
    )


# -- what was made of it -------------------------------------------------------------------------------------


def _analysis(report: StudyReport, spec: StudySpec) -> Iterator[Sentence]:
    yield Sentence(_effect(report))
    if len(report.evaluations) > 1:
        yield Sentence(
            "Effects were estimated twice, with each arm's winner, which is the primary analysis, and with "
            "the settings of the study file; each has a level of its own, and an arm whose two estimates "
            "differ, by an interval corrected for the number of effects, is called tuning-dependent"
        )
    elif report.first.phase == "retuned":
        yield Sentence("Each arm was evaluated with the winner of its own search")
    effects = [effect for one in report.evaluations for effect in one.all_effects]
    tested = [effect for effect in effects if effect.p is not None]
    if not tested:
        yield Sentence(
            f"No effect has an interval or a test, {_why_not(report)}; differences are descriptive"
        )
        return
    yield _test(report, spec, {effect.method for effect in tested})
    yield from _corrections(report, spec)
    if any(effect.q is not None for effect in tested):
        yield Sentence("False discovery rates (q) are exploratory", (FALSE_DISCOVERY,))
    yield Sentence("All other numbers of the report are descriptive, and nothing is claimed by them")


def _effect(report: StudyReport) -> str:
    if report.averaged:
        return (
            "The main effect of a component is the mean difference that taking it away makes, averaged "
            "over the levels of the others: a least-squares contrast of all arms, taken seed by seed"
        )
    reference = report.reference.arm
    text = f"The effect of an arm is the mean difference from {reference} over seeds that both finished"
    if report.first.interactions:
        text += "; an interaction is the difference of such differences, beyond the sum of both effects"
    return text


def _why_not(report: StudyReport) -> str:
    verdicts = {effect.verdict for one in report.evaluations for effect in one.all_effects}
    if report.tier == RUNG_ONLY:
        return "since which runs came to full length depends on their results"
    if DETERMINISTIC in verdicts:
        return "since the study is deterministic and seeds changed nothing"
    if len(report.seeds) == 1:
        return "since one seed says nothing about the spread between seeds"
    return "since too few pairs have finished or no differences vary over seeds"


def _test(report: StudyReport, spec: StudySpec, methods: set[str]) -> Sentence:
    if "moderated paired t" not in methods:
        return Sentence("Effects were tested by two-sided paired t-tests over seeds", (STUDENT,))
    rule = rule_of(spec).on_seeds(spec, len(next(iter(report.first.families), ())))
    pooling = rule_of(spec).pooling(spec) if rule is None else rule.pooling
    text = (
        "Effects were tested by two-sided moderated paired t-tests over seeds: an effect's variance borrows "
        f"{_borrowed(pooling)} from the residual variance of an additive fit of arms and seeds, is never "
        "replaced by a smaller one, and stands alone where it is much larger than those of the others"
    )
    if pooling.arms_own:
        text += "; what is borrowed is no smaller than the effects' own variances on average"
    return Sentence(text, (SMYTH,))


def _borrowed(pooling: Pooling) -> str:
    """`up to 3 degrees of freedom with 2 pairs and 4 with more`."""
    *few, last = (f"{most:g}" for most in pooling.borrow)
    steps = [f"{most} with {pairs}" for pairs, most in enumerate(few, start=2)]
    many = f"{last} with {2 + len(few)} or more"
    *steps, many = [f"{one} pairs" if n == 0 else one for n, one in enumerate([*steps, many])]
    return f"degrees of freedom (at most {_and([*steps, many])})"


def _corrections(report: StudyReport, spec: StudySpec) -> Iterator[Sentence]:
    sequential = rule_of(spec).sequential
    noun = "main effect" if report.averaged else "arm"
    sizes = [len(family) for family in report.first.families]
    over = f"over {words.count(sizes[0], noun)}"
    if len(sizes) > 1:
        listed = _and([str(size) for size in sizes])
        over = f"in each of {len(sizes)} families ({listed} {noun}s, in the order in which they were added)"
    level = f"a family-wise level of {report.alpha:g}"
    how = f"p-values were corrected after Holm for {level} {over}"
    if sequential:
        how = f"the looks hold {level} {over}"
    yield Sentence(
        f"The primary claims are the verdicts on main effects: {how}", () if sequential else (HOLM,)
    )
    if any(one.interactions for one in report.evaluations):
        pairs = words.count(
            len(report.first.interactions or report.evaluations[-1].interactions), "interaction"
        )
        yield Sentence(
            f"Secondary claims are the verdicts on {pairs}, a family with a level of its own, corrected "
            "after Holm and tested once, from all registered seeds",
            (HOLM,),
        )
    at, which = "", "they"
    if sequential:
        at = ", those of main effects at the level of the look that ended the arm, which holds over all looks"
    if (rule := rule_of(spec).on_seeds(spec, sizes[0])) and rule.screen and rule.screen.as_judged:
        which = "that of an arm without a claim has the level that the arm was tested at, the others"
    yield Sentence(
        f"{numbers.confidence(report)} intervals are t-intervals of single effects{at}; {which} are not "
        "corrected for the number of effects"
    )
    if report.margin is not None:
        yield Sentence(
            f"Differences below {report.margin:g} were registered as practically equal, which was tested "
            f"by two one-sided tests, corrected in the same way with a level of their own of "
            f"{report.alpha:g}",
            (SCHUIRMANN,),
        )


def with_new_data(report: StudyReport) -> tuple[Paragraph, ...]:
    """Return the paragraphs, with a sentence on the second intervals where the report has them."""
    if not any(one.new_data for one in report.evaluations):
        return report.methods
    said = Sentence(
        "A second interval is for new seeds and new data: the variance that samples add to a mean "
        "difference was estimated by analysis of variance from the scores of single samples, with "
        "approximate degrees of freedom, and it is never narrower than the first one",
        (SEARLE, SATTERTHWAITE),
    )
    return tuple(
        Paragraph(one.about, (*one.sentences[:-1], said, *one.sentences[-1:]))
        if one.about == "Analysis"
        else one
        for one in report.methods
    )


# -- what was run --------------------------------------------------------------------------------------------


def _what_ran(report: StudyReport, spec: StudySpec, runs: Sequence[TrialRecord]) -> Iterator[Sentence]:
    if not report.complete:
        yield Sentence("The study had not ended when this was written")
    for noun, mine in (
        ("sample", [run for run in runs if run.phase == TUNE]),
        ("run", [run for run in runs if run.phase != TUNE]),
    ):
        if mine:
            yield Sentence(_ended(mine, noun))
    failed = [run for run in runs if run.state in (TrialState.FAILED, TrialState.DIVERGED)]
    if any(run.state is TrialState.DIVERGED or run.cause in _OUTCOMES for run in failed):
        yield Sentence(
            "A run that diverged or failed for its own reasons was an outcome of its arm: it took its seed's "
            "place, was not replaced and never averaged with others, and the effect of such an arm holds for "
            "the seeds that came to their end"
        )
    if any(run.cause in (Cause.INFRA, Cause.HANG) for run in failed):
        yield Sentence(
            "A run that had lost its infrastructure was given up after having been tried again "
            f"{words.count(spec.failures.max_retries, 'time')} without a new checkpoint, and is missing"
        )
    budget = spec.budget
    if budget.gpu_hours is not None or budget.wall_s is not None:
        limits = [f"{budget.gpu_hours:g} GPU-hours"] if budget.gpu_hours is not None else []
        limits += [f"{numbers.duration(budget.wall_s)} of wall time"] if budget.wall_s is not None else []
        yield Sentence(f"No run was started beyond a budget of {_and(limits)}")
    retries = sum(run.retries for run in runs)
    if retries:
        many = "1 attempt was" if retries == 1 else f"{retries} attempts were"
        yield Sentence(
            f"{many} made again after a loss of infrastructure (workers, nodes, silence or a full disk), "
            "from the latest checkpoint where there was one"
        )
    else:
        yield Sentence("No run was tried again after a loss of infrastructure")
    again = [run.name for run in runs if run.asked_again]
    if again:
        yield Sentence(
            f"Run again on request after they had ended, the later result counting: {', '.join(again)}"
        )
    if report.provenance.accepted_code:
        changes = words.count(len(report.provenance.accepted_code), "change")
        yield Sentence(f"The code was changed while the study ran ({changes}, accepted on request)")


def _ended(runs: Sequence[TrialRecord], noun: str) -> str:
    """`Of 18 planned runs 15 reached their end, 1 diverged and 2 failed (infrastructure: 2)`."""
    if len(runs) > 1 and all(run.state is TrialState.DONE for run in runs):
        return f"All {len(runs)} planned {noun}s reached their end"
    states = Counter(run.state for run in runs)
    causes = Counter(run.cause for run in runs if run.state is TrialState.FAILED)
    why = ", ".join(f"{_CAUSES[cause]}: {causes[cause]}" for cause in Cause if causes[cause])
    parts = [
        f"{states[state]} {text}{f' ({why})' if state is TrialState.FAILED and why else ''}"
        for state, text in _ENDS.items()
        if states[state]
    ]
    return f"Of {words.count(len(runs), f'planned {noun}')} {_and([_of_one(part) for part in parts])}"


def _of_one(part: str) -> str:
    """`1 was cancelled`."""
    if not part.startswith("1 "):
        return part
    return part.replace("1 were", "1 was").replace("1 are", "1 is").replace("their end", "its end")


def _where(spec: StudySpec, runs: Sequence[TrialRecord], env: RecordedEnvironment) -> Iterator[Sentence]:
    known, program = env.packages, isinstance(spec.entrypoint, CommandSpec)
    torch = () if program else (PYTORCH,)
    means = "Ray Train and Ray Tune" if program else "Ray Train, Ray Tune and PyTorch"
    if env.on_ray:
        yield Sentence(
            f"The study was run with orchestrator, {means}", (_software(env), RAY, RAY_TUNE, *torch)
        )
    else:
        here = "" if env.on_ray is None else ", by threads of one process"
        yield Sentence(f"The study was run with orchestrator{here}", (_software(env), *torch))
    named = (("orchestrator", "orchestrator"), ("ray", "Ray"), ("torch", "PyTorch"))
    versions = [f"{name} {known[package]}" for package, name in named if package in known]
    versions = [*([f"Python {env.python}"] if env.python else []), *versions]
    if versions:
        yield Sentence(f"Installed at the first start were {_and(versions)}")
    if env.on_ray is not False:
        resources, devices = spec.resources, sorted({device for run in runs for device in run.devices})
        workers = (
            "1 process" if resources.workers == 1 else f"{resources.workers} data-parallel processes, each"
        )
        cpus = "1 CPU" if resources.cpus_per_worker == 1 else f"{resources.cpus_per_worker:g} CPUs"
        on = f"; runs computed on {_and(devices)}" if devices else ""
        yield Sentence(f"A run was given {workers} with {cpus}{on}")
    if host := _machine(env.hardware):
        yield Sentence(f"The machine of the first start had {_and(host)}")


def _software(env: RecordedEnvironment) -> Publication:
    """Return the entry of this software in the version that a study was started with."""
    version = env.packages.get("orchestrator")
    found = importlib.metadata.metadata("orchestrator")
    urls = (line.partition(", ") for line in found.get_all("Project-URL") or ())
    places = {label.casefold(): url for label, _, url in urls}
    url = next((places[label] for label in _SOURCES if label in places), None)
    fields = {
        "author": f"{{{found['Author'] or 'The orchestrator developers'}}}",
        "title": f"orchestrator: {found['Summary']}",
        **({"version": version} if version else {}),
        **({"url": url} if url else {}),
    }
    short = f"orchestrator {version}" if version else "orchestrator"
    return Publication("orchestrator", "software", short, fields)


def _and(parts: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _machine(hardware: RecordedHardware) -> list[str]:
    """`2 CPUs (a processor, 8 GiB)`, `4 GPUs (NVIDIA H100)`."""
    more = [hardware.cpu] if hardware.cpu else []
    more += [f"{hardware.memory_bytes / 2**30:.3g} GiB of memory"] if hardware.memory_bytes else []
    bracket = ", ".join(more)
    said = [f"{words.count(hardware.cpus, 'CPU')}{f' ({bracket})' if more else ''}"] if hardware.cpus else []
    names = ", ".join(sorted({gpu["name"] for gpu in hardware.gpus if "name" in gpu}))
    gpus = words.count(len(hardware.gpus), "GPU")
    return said + ([f"{gpus}{f' ({names})' if names else ''}"] if hardware.gpus else [])
