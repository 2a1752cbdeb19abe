"""The methods of a study for a paper: what every rule, goal, design and search says, as LaTeX and BibTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latexwalker import LatexWalker, LatexWalkerError

from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import RecordedEnvironment, RecordedHardware
from orchestrator.record.run import Run
from orchestrator.record.storage import Storage
from orchestrator.reporting.bibliography import in_words, to_bibtex
from orchestrator.reporting.build import build_report
from orchestrator.reporting.latex import methods_latex, tex, to_latex
from orchestrator.reporting.markdown import to_markdown
from orchestrator.reporting.methods import methods_of, with_new_data
from orchestrator.reporting.page import to_html
from orchestrator.stats.newdata import NewData
from orchestrator.study import publications
from orchestrator.study.cells import make_plan
from orchestrator.study.methods import Paragraph, Publication, Sentence, cited
from orchestrator.study.registered import DESIGNS, GOALS, RULES, SEARCHES
from orchestrator.study.spec import StudySpec

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from readings import NAMES, RECORDS

BASE = {s: 0.90 + s / 100 for s in range(5)}
BN = {0: 0.80, 1: 0.83, 2: 0.82, 3: 0.81, 4: 0.84}
TWO = {"baseline": BASE, "no-bn": BN, "no-aug": {**BASE, 0: 0.92}}
RESOLVE = {"rule": "resolve", "max": 9}
ALL = {name: one for name, one in vars(publications).items() if isinstance(one, Publication)}


def said(report, about: str) -> str:
    return next((one.text for one in report.methods if one.about == about), "")


def names(report) -> set[str]:
    return {one.key for one in cited(with_new_data(report))}


def of_study(spec: StudySpec, about: str = "Stopping", *families: int) -> str:
    """What the rule says of a study that nobody has run."""
    return Paragraph(about, RULES.get(spec.stopping.rule).methods(spec, families or (8,))).text


def a_study(arms: int = 8, **changes) -> StudySpec:
    parts = [f"c{n}" for n in range(arms)]
    return StudySpec.model_validate(
        {
            "name": "s",
            "entrypoint": "a:B",
            "metric": {"name": "acc", "mode": "max"},
            "baseline": dict.fromkeys(parts, True) | {"lr": 0.1},
            "components": {name: {"without": {name: False}} for name in parts},
            "seeds": 5,
            "stopping": {"rule": "none", "max": 9},
            **changes,
        }
    )


LOOKS = "No run was stopped before its full length, and effects were looked at after 2, 3, 4 and 5 seeds."
REFERENCE = "The reference arm was run under its first 4 seeds in any case"
RULES_SAY = {
    "none": ({"rule": "none"}, ["No run was stopped early, and effects were looked at once, after all "
                                "seeds."]),
    "asha": (
        {"rule": "asha", "grace": 1, "reduction": 3},
        [
            "asynchronous successive halving without promotion, with rungs at 1, 3 epochs, the best 1/3 go "
            "on; the reference arm was never stopped (Li et al., 2020).",
            "nothing is claimed about effects at full length.",
        ],
    ),
    "save": (
        {"rule": "resolve", "goal": "save"},
        [
            LOOKS,
            "An arm got no more seeds once it was declared different, or once its predictive power (chance "
            "to be so at a later look) fell below 0.1.",
            "Of the level α = 0.05 the share (n/5) to the power of 3 was spent after n of at most 5 seeds "
            "(Kim and DeMets, 1987).",
            "found by recursive integration for normal scores and applied to p-values of t-tests (Armitage "
            "et al., 1969).",
            REFERENCE,
            "Runs that arms did not need any more were not made.",
        ],
    ),
    "screen": (
        {"rule": "resolve", "goal": "screen"},
        [
            LOOKS,
            "In families of 4 arms or more a first look at one seed, which tests and claims nothing, set "
            "those arms aside whose difference was below 1.5 SDs of the reference's first seeds",
            "the chance to resolve them was at least 40%",
        ],
    ),
    "reinvest": (
        {"rule": "resolve", "goal": "reinvest", "max_seeds": 8},
        [
            "looked at after 2, 3, 4, 5, 6 and 8 seeds.",
            "(n/8) to the power of 1.5",
            "went to those that were still open, in rounds of 2 arms",
            "up to 8 seeds each and within the number of runs of a full grid of 5 seeds.",
        ],
    ),
    "first version": (
        {"rule": "resolve", "version": 1, "futility": 0},
        [
            "looked at after 3, 4 and 5 seeds.",
            "once it was declared different; no arm was given up before its last look.",
            "The reference arm was to be run under all 5 seeds of the study.",
        ],
    ),
    "one look": (
        {"rule": "resolve", "looks": [5]},
        ["effects were looked at once, after 5 seeds.", "shared among the arms of a family after Holm "
                                                        "(Holm, 1979)."],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES_SAY)
def test_what_rules_and_goals_say(name: str) -> None:
    stopping, sentences = RULES_SAY[name]
    text = of_study(a_study(stopping={"max": 9, **stopping}))
    for sentence in sentences:
        assert sentence in text, text
    one_look = name in ("none", "asha", "one look")
    assert ("Kim and DeMets" in text) is not one_look


def test_every_rule_goal_design_and_search_of_the_package_has_an_expected_sentence() -> None:
    assert {one["rule"] for one, _ in RULES_SAY.values()} == set(RULES)
    assert {one["goal"] for one, _ in RULES_SAY.values() if "goal" in one} == set(GOALS)
    assert set(DESIGNS_SAY) == set(DESIGNS)
    assert set(SEARCHES_SAY) == set(SEARCHES)


def test_small_families_take_levels_of_the_union_bound() -> None:
    spec = a_study(stopping=RESOLVE)
    union = "which hold by the union bound"
    assert "levels of the looks were its increments, which hold by the union bound." in of_study(spec, "", 2)
    assert "t-tests; those of families with fewer arms were its increments" in of_study(spec, "", 8, 2)
    assert union not in of_study(spec, "", 8)
    strict = a_study(stopping=RESOLVE, report={"variance": "per_arm", "margin": 0.1})
    assert union in of_study(strict)
    assert "declared different or practically equivalent, or once" in of_study(strict)


DESIGNS_SAY = {
    "leave-one-out": (
        {"interactions": [["c0", "c1"]]},
        "In a leave-one-out design 4 arms were compared with the reference arm (baseline), from which each "
        "differs in one component that is taken away or exchanged for an alternative. 1 further arm takes "
        "two components away together, for interactions that were chosen before the first run.",
    ),
    "pairs": (
        {},
        "6 further arms take two components away together, for the interaction of every pair that can be "
        "taken away together.",
    ),
    "add-one-in": (
        {},
        "In an add-one-in design 4 arms were compared with the reference arm (stripped), in which the "
        "components are taken away together, and from which each differs in one component that is put back.",
    ),
    "factorial": (
        {},
        "In a full factorial design of 4 components, each with two levels, all 16 combinations were run.",
    ),
    "fractional": (
        {},
        "In a fractional factorial design of resolution IV 8 of the 16 combinations of 4 components, each "
        "with two levels, were run (Box and Hunter, 1961).",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGNS_SAY)
def test_what_designs_say(name: str) -> None:
    changes, sentence = DESIGNS_SAY[name]
    spec = a_study(4, design=name, **changes)
    assert sentence in Paragraph("", DESIGNS.get(name).methods(spec, make_plan(spec).arms)).text


def test_a_factorial_design_says_what_was_excluded() -> None:
    spec = a_study(3, design="factorial", exclude=[["c0", "c1"]])
    arms = make_plan(spec).arms
    text = Paragraph("", DESIGNS.get("factorial").methods(spec, arms)).text
    assert f"{len(arms)} combinations were run, all but those that were excluded beforehand." in text


SEARCHES_SAY = {
    "random": "The settings were drawn at random, the same draws for every arm (Bergstra and Bengio, 2012).",
    "grid": "The settings were all combinations of the listed values, a grid that is the same for every arm.",
    "bayes": "a tree-structured Parzen estimator proposed each setting from the results of the arm's "
    "earlier ones (Bergstra et al., 2011; Akiba et al., 2019).",
}


@pytest.mark.parametrize("name", SEARCHES_SAY)
def test_what_searches_say(study, name: str) -> None:
    tune = {"search": name, "samples": 3, "space": {"lr": {"choice": [0.1, 0.2, 0.3]}}, "compare": "both"}
    components = {"bn": {"without": {"bn": False}}, "aug": {"without": {"aug": False}}}
    baseline = {"bn": True, "aug": True, "lr": 0.1}
    made = study(TWO, seeds=5, tune=tune, components=components, baseline=baseline, later=lambda cell: 0.9)
    text = said(made.report, "Search")
    assert text.startswith(
        "Before the comparison 3 settings of lr were tried in every arm, the reference included, under "
        "seed 10000, which no evaluation used."
    )
    assert SEARCHES_SAY[name] in text
    assert (
        "against samples of the same arm only: rungs at 1, 3 epochs, the best 1/3 go on (Li et al., 2020)."
        in text
    )
    assert "Effects were estimated twice, with each arm's winner, which is the primary analysis" in said(
        made.report, "Analysis"
    )


MODERATED = (
    "Effects were tested by two-sided moderated paired t-tests over seeds: an effect's variance borrows "
    "degrees of freedom (at most {}) from the residual variance of an additive fit of arms and seeds"
)
ANALYSES = {
    "grid": ({}, [MODERATED.format("3 with 2 pairs and 4 with 3 or more"),
                  "p-values were corrected after Holm for a family-wise level of 0.05 over 2 arms (Holm, "
                  "1979).",
                  "95 % intervals are t-intervals of single effects; they are not corrected"]),
    "strict": ({"report": {"variance": "per_arm"}}, ["by two-sided paired t-tests over seeds (Student, "
                                                     "1908)."]),
    "margin": ({"report": {"margin": 0.02}}, ["Differences below 0.02 were registered as practically equal",
                                              "level of their own of 0.05 (Schuirmann, 1987)."]),
    "looks": ({"stopping": RESOLVE}, ["the looks hold a family-wise level of 0.05 over 2 arms.",
                                      "at the level of the look that ended the arm"]),
    "asha": ({"stopping": {"rule": "asha", "max": 9}},
             ["No effect has an interval or a test, since which runs came to full length depends on their "
              "results"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ANALYSES)
def test_what_is_said_of_tests_and_intervals(study, name: str) -> None:
    changes, sentences = ANALYSES[name]
    report = study(TWO, seeds=5, **changes).report
    for sentence in sentences:
        assert sentence in said(report, "Analysis"), said(report, "Analysis")
    assert ("holm1979simple" in names(report)) is (name != "asha")
    assert ("smyth2004linear" in names(report)) is (name not in ("strict", "asha"))


def test_nothing_is_said_of_tests_that_were_not_made(study) -> None:
    one = study({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, seeds=1).report
    assert "No effect has an interval or a test, since one seed says nothing" in said(one, "Analysis")
    assert "Every arm was to be run under one seed (0)." in said(one, "Design")
    same = study({"baseline": dict.fromkeys(range(3), 0.9), "no-bn": dict.fromkeys(range(3), 0.9)}).report
    assert "too few pairs have finished or no differences vary" in said(same, "Analysis")
    certain = {arm: dict.fromkeys(range(3), 0.9 - n / 10) for n, arm in enumerate(("baseline", "no-bn"))}
    fixed = study(certain, deterministic=True).report
    assert "since the study is deterministic and seeds changed nothing" in said(fixed, "Analysis")
    assert {"holm1979simple", "student1908probable"} & (names(one) | names(same) | names(fixed)) == set()


METRICS = {
    "its last value of acc; higher is better": {},
    "the mean of its last 3 values of acc;": {"average_last": 3},
    "the best value of acc, chosen and claimed on the same data;": {"at": "best"},
    "test in its last report, acc serving for all choices;": {"test": "test"},
    "test in the report where acc was best, acc serving for all choices; lower is better": {
        "test": "test", "at": "best", "test_mode": "min",
    },
}  # fmt: skip


@pytest.mark.parametrize("words", METRICS)
def test_what_a_run_counts_with(study, words: str) -> None:
    metric = {"name": "acc", "mode": "max", "also": ["loss", "params"], **METRICS[words]}
    text = said(study(TWO, seeds=5, metric=metric).report, "Design")
    assert f"A run had a full length of 9 epochs, and its outcome was {words}" in text
    assert "Described beside it, without any test: loss, params." in text
    assert "under 5 seeds (0, 1, 2, 3, 4)" in text


def test_failures_and_how_they_counted(study, ended) -> None:
    outcomes = {
        "baseline": BASE,
        "no-bn": {**BN, 1: ended(state="failed", cause="user"), 2: ended(state="diverged")},
        "no-aug": {**BASE, 3: ended(state="failed", cause="infra")},
    }
    text = said(study(outcomes, seeds=5, failures={"max_retries": 2}).report, "Runs")
    assert text.startswith(
        "The study had not ended when this was written. Of 15 planned runs 12 reached their end, 1 "
        "diverged and 2 failed (an error of the code: 1, infrastructure: 1)."
    )
    assert "was an outcome of its arm: it took its seed's place, was not replaced" in text
    assert "given up after having been tried again 2 times without a new checkpoint" in text
    assert "No run was tried again after a loss of infrastructure." in text
    whole = study(TWO, seeds=5, budget={"gpu_hours": 2, "wall": "90m"}).report
    assert said(whole, "Runs") == (
        "All 15 planned runs reached their end. No run was started beyond a budget of 2 GPU-hours and 90 "
        "min of wall time. No run was tried again after a loss of infrastructure."
    )


def test_retries_and_changes_of_the_code_are_told(study) -> None:
    made = study(TWO, seeds=5)
    for run, retries, again in zip(made.history.cells.values(), (2, 1), (0, 1), strict=False):
        run.retries, run.asked_again = retries, again
    provenance = replace(made.report.provenance, accepted_code=("a", "b"))
    changed = replace(made.report, provenance=provenance)
    text = Paragraph("", _again(changed, made)[-2].sentences).text
    assert "3 attempts were made again after a loss of infrastructure" in text
    assert "the later result counting: baseline seed 1." in text
    assert "changed while the study ran (2 changes, accepted on request)." in text


def _again(report, made, env: RecordedEnvironment | None = None) -> tuple[Paragraph, ...]:
    plan, runs = make_plan(made.spec), tuple(made.history.cells.values())
    return methods_of(report, made.spec, plan, runs, env or RecordedEnvironment())


@pytest.mark.parametrize(
    ("on_ray", "words", "keys"),
    [
        (True, "run with orchestrator, Ray Train, Ray Tune and PyTorch (orchestrator 0.1.0; Moritz et al., "
               "2018; Liaw et al., 2018; Paszke et al., 2019).",
         {"moritz2018ray", "liaw2018tune", "paszke2019pytorch"}),
        (False, "run with orchestrator, by threads of one process (", {"paszke2019pytorch"}),
        (None, "run with orchestrator (", {"paszke2019pytorch"}),
    ],
)  # fmt: skip
def test_what_a_study_was_run_with(study, on_ray: bool | None, words: str, keys: set[str]) -> None:
    made = study(TWO, seeds=5)
    env = RecordedEnvironment(
        python="3.12.1",
        on_ray=on_ray,
        packages={"orchestrator": "0.1.0", "ray": "2.60.0", "torch": "2.13.0"},
        hardware=RecordedHardware("a processor", 16, 128 << 30, [{"name": "NVIDIA H200"}] * 2),
    )
    found = _again(made.report, made, env)
    text = found[-1].text
    assert words in text
    assert "first start were Python 3.12.1, orchestrator 0.1.0, Ray 2.60.0 and PyTorch 2.13.0." in text
    assert "had 16 CPUs (a processor, 128 GiB of memory) and 2 GPUs (NVIDIA H200)." in text
    assert ("A run was given 1 process with 1 CPU; runs computed on CPU." in text) is (on_ray is not False)
    software = {"moritz2018ray", "liaw2018tune", "paszke2019pytorch"}
    assert {one.key for one in cited(found)} & software == keys
    assert "version = {0.1.0}" in to_bibtex(cited(found))


def test_a_program_is_not_said_to_use_pytorch(study) -> None:
    command = {"command": ["python", "train.py"], "metrics": "stdout"}
    made = study(TWO, seeds=5)
    spec = made.spec.model_copy(update={"entrypoint": StudySpec.model_validate(
        {**made.spec.to_dict(), "entrypoint": {"command": command["command"]}}).entrypoint})  # fmt: skip
    made = replace(made, spec=spec)
    assert "paszke2019pytorch" not in {one.key for one in cited(_again(made.report, made))}


def test_the_second_interval_is_told_where_there_is_one(study) -> None:
    report = study(TWO, seeds=5).report
    assert "searle1992variance" not in names(report)
    kept = replace(report.first, new_data={"no-bn": NewData(-0.2, 0.0, 0.05, 4.0, 360)})
    with_scores = replace(report, evaluations=(kept,))
    assert {"searle1992variance", "satterthwaite1946approximate"} <= names(with_scores)
    assert "A second interval is for new seeds and new data" in methods_latex(with_scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_record_has_its_methods(name: str) -> None:
    run = Run(Storage.open(RECORDS), StudyPaths(name))
    view = run.view()
    spec = StudySpec.model_validate(view.spec)
    report = build_report(run.storage, run.paths, spec, view.plan, view.state)
    abouts = [one.about for one in report.methods]
    assert abouts[0] == "Design"
    assert abouts[-2:] == ["Runs", "Software and hardware"]
    assert ("Search" in abouts) is bool(report.tuned)
    assert ("had not ended" in said(report, "Runs")) is not report.complete
    own = [
        run.state == "diverged" or run.cause in ("user", "oom", "short") for run in view.state.cells.values()
    ]
    assert ("was an outcome of its arm" in said(report, "Runs")) is any(own)
    tested = any(effect.p is not None for one in report.evaluations for effect in one.all_effects)
    assert ("No effect has an interval or a test" in said(report, "Analysis")) is not tested
    keys = set(re.findall(r"[\w-]+", " ".join(re.findall(r"\\cite\{([^}]*)\}", methods_latex(report)))))
    entries = set(re.findall(r"^@\w+\{(\w+),$", to_bibtex(cited(report.methods)), re.MULTILINE))
    assert keys == entries == names(report)
    for one in report.methods:
        assert not re.search(r"\.\.|\s\s|None|  ", one.text)
        assert one.text in _unmarked(to_markdown(report))


def _unmarked(markdown: str) -> str:
    return re.sub(r"\\([\\`*_\[\]|<>#])", r"\1", markdown)


@pytest.mark.slow
def test_the_page_has_the_text_and_the_references(study) -> None:
    report = study(TWO, seeds=5, metric={"name": "a<b>", "mode": "max"}).report
    html = to_html(report, ())
    assert "its last value of a&lt;b&gt;; higher" in html
    assert in_words(publications.SMYTH).replace("'", "&#39;") in html
    assert 'href="methods.tex"' in html


def test_a_table_of_results_has_no_methods(study) -> None:
    report = replace(study(TWO, seeds=5).report, methods=())
    assert "## Methods" not in to_markdown(report)


# -- LaTeX and BibTeX ----------------------------------------------------------------------------------------

COMMANDS = re.compile(
    r"\\text(backslash|asciitilde|asciicircum|less|greater|bar|dagger|daggerdbl)\{\}|\\dots\{\}|\\S\{\}"
    r"|\\ensuremath\{(-|\\[A-Za-z]+)\}|\\[#$%&_{}]"
)


@given(st.text(max_size=60))
def test_no_text_is_markup(text: str) -> None:
    parses(tex(text))
    left = COMMANDS.sub("", tex(text))
    assert not re.search(r"[\\~^<>|#$%&_{}]", left)
    assert all(ord(character) < 0x180 for character in left)


@given(name=st.text(min_size=1, max_size=30), title=st.text(max_size=60))
def test_no_entry_breaks_its_file(name: str, title: str) -> None:
    fields = {"author": name, "title": title, "year": "2001"}
    text = to_bibtex([Publication("key", "misc", "short", fields)])
    assert len(re.findall(r"^@", text, re.MULTILINE)) == 1
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert text.endswith("\n}\n")


def parses(text: str) -> None:
    """Braces, environments and formulas are closed: what a parser in Python sees without a LaTeX."""
    LatexWalker(text, tolerant_parsing=False).get_latex_nodes()


def test_methods_tables_and_references_parse(study) -> None:
    report = study(TWO, seeds=5, metric={"name": "50% of $x_1$ & #{~^}\\", "mode": "max"}).report
    for text in (
        methods_latex(report),
        to_latex(report),
        to_latex(report, slim=True),
        to_bibtex(ALL.values()),
    ):
        parses(text)
    with pytest.raises(LatexWalkerError):
        parses(methods_latex(report) + "{")


@pytest.mark.slow
def test_latex_takes_the_methods_and_their_references(study, tmp_path) -> None:
    pdflatex, bibtex = shutil.which("pdflatex"), shutil.which("bibtex")
    if pdflatex is None or bibtex is None:
        pytest.skip("no pdflatex and bibtex here")
    report = study(TWO, seeds=5, metric={"name": "50% of $x_1$ & #{~^}\\", "mode": "max"}).report
    (tmp_path / "methods.tex").write_text(methods_latex(report), encoding="utf-8")
    (tmp_path / "references.bib").write_text(to_bibtex(ALL.values()), encoding="utf-8")
    body = r"\input{methods}\nocite{*}\bibliographystyle{plain}\bibliography{references}"
    paper = rf"\documentclass{{article}}\usepackage[T1]{{fontenc}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "paper.tex").write_text(paper, encoding="utf-8")
    latex = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for command in (latex, [bibtex, "paper"], latex, latex):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    assert b"undefined" not in done.stdout


def test_entries() -> None:
    text = to_bibtex([publications.BOX_HUNTER, publications.OPTUNA])
    assert "title = {{The $2^{k-p}$ Fractional Factorial Designs: Part I}}" in text
    assert r"Knowledge Discovery \& Data Mining" in text
    assert in_words(publications.HOLM) == (
        "Holm, Sture (1979): A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal "
        "of Statistics 6(2), 65–70"
    )
    assert in_words(publications.TUNE).endswith("Distributed Model Selection and Training. arXiv 1807.05118")


def test_every_publication_has_what_its_kind_needs_and_a_key_of_its_own() -> None:
    needs = {"article": {"journal", "volume"}, "inproceedings": {"booktitle"}, "book": {"publisher"},
             "misc": {"eprint"}}  # fmt: skip
    assert len({one.key for one in ALL.values()}) == len(ALL)
    for one in ALL.values():
        assert {"author", "title", "year"} | needs[one.kind] <= set(one.fields), one.key
        assert one.fields["year"] in one.key
        assert one.fields["author"].split(",")[0].split(" ")[0] in one.short


def test_a_rule_of_another_package_says_what_it_is() -> None:
    class Median(type(RULES.get("none"))):
        name = "median"
        methods = RULES.get("none").__class__.__mro__[2].methods

        def describe(self, spec: StudySpec) -> str:
            return "median: half of the trials end at each rung"

    (sentence,) = Median().methods(a_study(), (8,))
    assert sentence == Sentence("The stopping rule was median: half of the trials end at each rung")


def test_the_page_names_files_that_a_study_has() -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```tex\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    named = dict(re.findall(r"^\\(\w+)\{runs/my-study/(\w+)\}$", block, re.MULTILINE))
    paths = StudyPaths("my-study")
    assert {name: f"my-study/{stem}" for name, stem in named.items()} == {
        "input": paths.methods_tex.removesuffix(".tex"),
        "bibliography": paths.references_bib.removesuffix(".bib"),
    }
