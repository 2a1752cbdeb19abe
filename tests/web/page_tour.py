"""A tour of `orchestrate serve` in a headless browser, with keys alone, over real studies of the digits.

As a program it writes the pictures of docs/serve.md:

    python tests/web/page_tour.py docs/images
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from browsing import (
    PHONE,
    REPOSITORY,
    RUN_MS,
    WIDE,
    press,
    reach,
    serving,
    small,
    sound,
    watched,
    wear,
    write,
)
from tensorboard_tabs import browser

STUDY = """\
# The digits study with two planted arms: one learns nothing, one finds a file missing at first.
extends: digits-asha.yaml
name: digits-small
entrypoint: held:Digits
baseline: {data: {numbering: ascending, batch_size: 128}, model: {width: 8}}
components:
  rate: {swap: {tiny: {optim.lr: 1e-6}}, why: planted - it learns nothing}
  numbering: {swap: {descending: {data.numbering: descending}}, why: planted - classes have no order}
stopping: {grace: 2, reduction: 2}
resources: {max_parallel: 1}
"""
TRIAL = '''\
"""The digits, whose trials wait for who watches them."""

import time
from pathlib import Path

from trials import digits

FOLDER = Path("{folder}")
# batchnorm, seed -> from which epoch on, and for which file
WAITS = {(True, 0): (2, "grow"), (False, 1): (1, "hurry")}


class Digits(digits.Digits):
    def augment(self, batch, draws):
        if draws.epoch and self.config["data"]["numbering"] == "descending":
            (FOLDER / "numbers.txt").read_text()
        who = self.config["model"]["batchnorm"], self.config["seed"]
        epoch, file = WAITS.get(who, (0, ""))
        while file and draws.epoch >= epoch and not (FOLDER / file).exists():
            time.sleep(0.05)
        return super().augment(batch, draws)
'''
UNTICKED = ("augment", "mixup", "dropout", "schedule", "optimizer=sgd", "optimizer=adam")
FAILING, TINY = "numbering=descending seed 0", "rate=tiny seed 0"
POINTS = """figure => [...(document.querySelector(`#figure-${figure} .drawn`)?.data ?? [])]
  .reduce((sum, trace) => sum + (trace.y?.length ?? 0), 0)"""
"""How many points a figure has."""
MORE = f"([figure, points]) => ({POINTS})(figure) > points"
RENAME = """names => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const [old, other] of Object.entries(names))
      texts.currentNode.data = texts.currentNode.data.replaceAll(old, other);
}"""
BOX = """place => {
  const { x, y, width, height } = document.querySelector(place).getBoundingClientRect();
  return { x, y, width, height };
}"""
STOPPED = r"asha, rung 2, cut-off 0\.\d+, rank \d of \d"


def write_digits(root: Path) -> None:
    """Write the study files of the digits and their code into a new directory."""
    shutil.copytree(REPOSITORY / "trials", root / "trials", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "configs").mkdir()
    for name in ("digits.yaml", "digits-asha.yaml"):
        shutil.copy(REPOSITORY / "configs" / name, root / "configs")
    (root / "configs" / "digits-small.yaml").write_text(STUDY)
    (root / "held.py").write_text(TRIAL.replace("{folder}", str(root)))


class Tour:
    """The steps in their order; `pictures` is where pictures of them go."""

    def __init__(self, page: Any, root: Path, pictures: Path) -> None:
        self.page, self.root, self.pictures = page, root, pictures
        self.home = ""

    def whole(self) -> None:
        """From an empty list to a comparison."""
        wear(self.page, "light", WIDE)
        with self.served():
            self.choose()
            self.start(whole=False)
        self.page.get_by_text("The server is away").wait_for()  # the study is not
        with self.served():
            self.enter("a[href$='/studies/digits-small/']", "**/studies/digits-small/")
            self.grow()
            self.see_why()
            self.stop()
            self.resume()
            self.retry()
            self.extend()
            wear(self.page, "dark", PHONE)
            self.another()
            wear(self.page, "light", WIDE)
            self.compare()
            self.read_report()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve and come in; hold that nothing goes wrong in the browser and nothing leaves the machine."""
        with serving(self.root) as address, watched(self.page, urlsplit(address).netloc) as faults:
            self.page.goto(address)
            self.home = self.page.locator("nav a").first.evaluate("link => link.href")
            yield
            assert faults == []

    def enter(self, place: str, address: str) -> None:
        """Press Enter at a place, and wait for the page behind it."""
        press(self.page, place)
        self.page.wait_for_url(address)

    def choose(self) -> None:
        """Choose a study file among others, untick arms, change settings, and ask what would start."""
        page = self.page
        page.get_by_text("No study is recorded here yet").wait_for()
        sound(page)
        self.enter("nav a[href$='/new']", "**/new")
        press(page, "select[name=config]", "Home")
        page.keyboard.type("configs/digits-s")
        self.enter("form.chooser button", "**/new?config=configs%2Fdigits-small.yaml")
        for name in UNTICKED:
            press(page, f'input[name=component][value="{name}"]', "Space")
        write(page, "[name=seeds]", "2")
        write(page, '[name="stopping.max"]', "4")
        press(page, "button[value=validate]")
        answer = page.locator("#answer")
        answer.wait_for()
        said = answer.inner_text()
        assert "4 arms × 2 seeds = 8 trials" in said
        assert "a new study" in said
        assert "orchestrate ablate --config configs/digits-small.yaml seeds=2 stopping.max=4" in said
        sound(page)
        self.picture("new")

    def start(self, place: str = "button[value=start]", *, whole: bool = True) -> None:
        """Start, resume or the like: from what is printed, `whole` or not, to the page of the study."""
        page = self.page
        self.enter(place, "**/launches/*")
        page.locator("a.button.main, #state .warning").first.wait_for(timeout=RUN_MS)
        assert page.locator("a.button.main").count(), page.locator(".output").inner_text()
        if whole:
            page.locator("#state", has_text="ended").wait_for(timeout=RUN_MS)
        self.enter("a.button.main", "**/studies/*/")
        self.has_more("curves")

    def grow(self) -> None:
        """Watch curves, forest and map fill on one page that is not loaded again."""
        page = self.page
        self.has_more("curves")
        page.evaluate("window.notLoadedAgain = true")
        points, effects = (page.evaluate(POINTS, figure) for figure in ("curves", "forest"))
        (self.root / "grow").touch()
        self.has_more("curves", points)
        self.row("no-batchnorm seed 1").get_by_text("running").wait_for(timeout=RUN_MS)
        self.has_more("forest", effects)
        page.locator("#figure-map .heatmaplayer image").wait_for(state="attached")
        assert "FileNotFoundError" in page.locator("#faults tr", has_text=FAILING).inner_text()
        assert page.evaluate("window.notLoadedAgain")
        self.picture("study")
        self.picture("figures", "section:has(> #figure-curves)")
        sound(page)

    def see_why(self) -> None:
        """A trial that was stopped says why, beside its rung, and on its own page."""
        page = self.page
        assert re.search(STOPPED, self.row(TINY).inner_text())
        rung = page.locator("#stopping tbody tr").first
        assert TINY in rung.inner_text()
        trial = self.row(TINY).get_by_role("link", name=TINY, exact=True)
        self.enter(f"#cells a[href='{trial.get_attribute('href')}']", "**/trial?cell=*")
        state = page.locator("#state").inner_text()
        assert "stopped" in state
        assert re.search(STOPPED, state)
        page.locator("#curves .scatterlayer").first.wait_for(state="attached")
        self.picture("trial")
        sound(page)
        self.enter("main p a[href='./']", "**/studies/digits-small/")

    def stop(self) -> None:
        """Stop while a trial runs; the list says so."""
        page = self.page
        self.enter("a[href=stop]", "**/stop")
        sound(page)
        self.enter("form[action$=stop] button", "**/studies/digits-small/")
        for name in ("hurry", "numbers.txt"):
            (self.root / name).touch()
        self.ended()
        self.enter("nav a", self.home)
        assert page.locator("#studies tbody td strong").inner_text() == "stopped"

    def resume(self) -> None:
        """Go on to the end; what has failed stays so."""
        page = self.page
        self.enter("a[href$='/studies/digits-small/']", "**/studies/digits-small/")
        self.start("button[value=resume]")
        assert page.locator("button[value=resume]").count() == 0
        assert "failed" in self.row(FAILING).inner_text()

    def retry(self) -> None:
        """Run the trial that has failed again, and nothing else."""
        page = self.page
        before = self.attempts()
        self.enter(f"a[aria-label='Retry {FAILING}']", "**/retry?cell=*")
        sound(page)
        self.enter("form[action$=retry] button", "**/launches/*")
        page.locator("#state", has_text="has its answer").wait_for(timeout=RUN_MS)
        sound(page)
        self.enter("a.button.main", "**/studies/digits-small/")
        after = self.attempts()
        assert {name for name in after if after[name] != before[name]} == {FAILING}

    def extend(self) -> None:
        """Add a seed: effects rest on it too."""
        page = self.page
        write(page, "form.actions input[name=seeds]", "3")
        self.enter("button[value=extend]", "**/again?*")
        assert "4 arms × 3 seeds = 12 trials" in page.locator("main").inner_text()
        sound(page)
        self.start("form[action$=again] button")
        seeds = page.locator("[aria-label=effects] tbody td:nth-child(4)").all_inner_texts()
        assert "3" in seeds

    def another(self) -> None:
        """On a phone, in the dark: another study from this one, with another learning rate."""
        page = self.page
        page.reload()
        self.has_more("curves")
        self.picture("phone")
        self.enter("a[href*='/new?like=']", "**/new?like=*")
        sound(page)
        write(page, '[name="baseline.optim.lr"]', "1e-3")
        write(page, "[name=seeds]", "2")
        self.start()

    def compare(self) -> None:
        """Tick the two studies, and lay them side by side."""
        page = self.page
        self.enter("nav a", self.home)
        sound(page)
        self.picture("list")
        for name in ("digits-small", "digits-small-2"):
            press(page, f"input.tick[value={name}]", "Space")
        reach(page, "form#compare button", "Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/compare?*")
        settings = page.locator("[aria-label=settings] tr", has_text="baseline.optim.lr").inner_text()
        assert settings.split() == ["baseline.optim.lr", "0.003", "0.001"]
        page.locator(".chart .scatterlayer").first.wait_for(state="attached")
        self.picture("compare")
        sound(page)

    def read_report(self) -> None:
        """Open the report of the first study, and a file beside it."""
        page = self.page
        self.enter("thead a[href$='/studies/digits-small/']", "**/studies/digits-small/")
        self.enter("a[href='files/']", "**/files/")
        sound(page)
        page.go_back()
        self.enter("a[href='files/report.html']", "**/report.html")
        page.locator(".chart svg").first.wait_for()
        assert page.evaluate("window.origin") == "null"  # apart from our pages and their cookie

    def has_more(self, figure: str, points: int = 0) -> None:
        """Wait until a figure has more points than so many."""
        self.page.wait_for_function(MORE, arg=[figure, points], polling=500, timeout=RUN_MS)

    def row(self, name: str) -> Any:
        """The row of a cell."""
        return self.page.locator("#cells tbody tr", has_text=name)

    def attempts(self) -> dict[str, str]:
        """How many attempts each cell has had, as the page says."""
        pairs = self.page.locator("#cells tbody tr").evaluate_all(
            "rows => rows.map(row => [row.children[0].innerText, row.children[4].innerText])"
        )
        return dict(pairs)

    def ended(self) -> None:
        """Wait until nobody runs the study."""
        self.page.locator("#driver").get_by_text("nobody runs it now").wait_for(timeout=RUN_MS)

    def picture(self, name: str, place: str = "") -> None:
        """Take a picture of the window, or of a part of the page; where it was taken is nobody's business."""
        page = self.page
        page.evaluate(RENAME, {str(self.root): "~/studies", socket.gethostname(): "workstation"})
        page.evaluate("scrollTo(0, 0)")
        part = {"full_page": True, "clip": page.evaluate(BOX, place)} if place else {}
        shot = page.screenshot(**part)
        (self.pictures / f"serve-{name}.png").write_bytes(small(shot))


def main(out: Path) -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, browser() as page:
        write_digits(Path(folder))
        Tour(page, Path(folder), out).whole()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
