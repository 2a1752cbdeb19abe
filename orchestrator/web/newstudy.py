"""The routes of a new study: its form, its dry run, its start, and what it prints."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response

from orchestrator.errors import Fault, InputError, OrchestratorError
from orchestrator.record.storage import Storage
from orchestrator.study.loading import LoadedStudy, load_study
from orchestrator.web.again import typed
from orchestrator.web.answers import Filled, Sent, Site, go_to, kept_study, show_page
from orchestrator.web.beside import on_machine
from orchestrator.web.carried import EarlierStudy, carried, file_of, free_name
from orchestrator.web.children import ChildAnswer, shown
from orchestrator.web.form import Form, form_of, options, overrides
from orchestrator.web.studyfiles import StudyFile, find_study_files
from orchestrator.web.studylist import environment


def new_study_pages(app: FastAPI, site: Site) -> None:
    """Add the pages on which a study is chosen and started."""

    @app.get("/new")
    def choose(request: Request, config: str = "", like: str = "", extend: str = "") -> Response:
        if like or extend:
            return _like_page(request, site, like or extend, extends=not like)
        return _form_page(request, site, config, {}, None)

    @app.post("/new")
    def send(request: Request, filled: Sent) -> Response:
        action = filled.pop("action", [""])[0]
        config = filled.pop("config", [""])[0]
        try:
            form = _form(site, config, find_study_files(site.children.root))
            words = ["--config", config, *overrides(form, filled), *options(filled)]
        except InputError as error:
            answer = ChildAnswer((), 2, "", "\n".join(f"error: {fault}" for fault in error.faults))
            return _form_page(request, site, config, filled, answer)
        words += ["--queue"] if action == "queue" else []
        answer = site.children.ask("ablate", *words, "--dry-run")
        if answer.returncode or action not in ("start", "queue"):
            return _form_page(request, site, config, filled, answer, shown(["ablate", *words]))
        return go_to(request, f"/launches/{site.children.launch('ablate', *words)}")

    @app.get("/launches/{name}")
    def launched(request: Request, name: str) -> Response:
        launch = site.children.launched(name)
        if launch is None:
            raise HTTPException(404, "no study was started under this name")
        study, elsewhere = _study_of(site, launch.words)
        return show_page(request, "launch.html.j2", launch=launch, study=study, elsewhere=elsewhere)


def _loaded(site: Site, config: str, known: tuple[StudyFile, ...]) -> LoadedStudy:
    """Raise `InputError` for a file that is not offered, or that is no sound study."""
    if config not in {file.path for file in known}:
        raise InputError(Fault("no study file of this directory", field="config", value=config[:200]))
    return load_study(site.children.root / config, cwd=site.children.root)


def _form(site: Site, config: str, known: tuple[StudyFile, ...]) -> Form:
    """Raise `InputError` as `_loaded`."""
    entrypoints = {file.entrypoint for file in known if file.entrypoint}
    return form_of(_loaded(site, config, known).raw, entrypoints)


def _form_page(
    request: Request,
    site: Site,
    config: str,
    filled: Filled,
    answer: ChildAnswer | None,
    command: str = "",
    start: EarlierStudy | None = None,
) -> Response:
    known = find_study_files(site.children.root)
    config = config or (known[0].path if known else "")
    form, problems = None, []
    if config and not (start and start.command):
        try:
            form = _form(site, config, known)
        except InputError as error:
            problems = [str(fault) for fault in error.faults]
    code = 422 if answer is not None and answer.returncode else 200
    values = {"known": known, "config": config, "form": form, "problems": problems, "start": start}
    values["busy"] = [*on_machine().others]
    return show_page(request, "new.html.j2", code, filled=filled, answer=answer, command=command, **values)


def _like_page(request: Request, site: Site, name: str, *, extends: bool) -> Response:
    """Show the form of an earlier study's file as that study would have filled it.

    `extends`: under its own name, for more arms or seeds of it; else under a free one.
    """
    kept, root = kept_study(site, name), site.children.root
    known = find_study_files(root)
    then = kept.recorded.spec
    study = str(then["name"])
    sound = [file for file in known if file.name != study or _is_sound(site, file, known)]
    config, words = file_of(environment(kept).study_file, study, sound, root)
    new = study if extends else free_name(name, lambda other: site.studies.named(other) is not None)
    if not config:
        command = ["ablate", "--config", typed(kept.run, kept.run.paths.study_yaml, root)]
        command.append("--extend" if extends else f"name={new}")
        return _form_page(
            request, site, "", {}, None, start=EarlierStudy(name, words, command=shown(command))
        )
    try:
        now = _loaded(site, config, known).spec.to_dict()
        found = carried(_form(site, config, known), then, now, new)
    except InputError:  # which the page of the file says
        return _form_page(request, site, config, {}, None, start=EarlierStudy(name, words))
    start = EarlierStudy(name, words, tuple(found.changed), tuple(found.left), extends=extends)
    filled = {**found.filled, "flag": ["extend"]} if extends else found.filled
    return _form_page(request, site, config, filled, None, start=start)


def _is_sound(site: Site, file: StudyFile, known: tuple[StudyFile, ...]) -> bool:
    try:
        _loaded(site, file.path, known)
    except InputError:
        return False
    return True


def _study_of(site: Site, words: tuple[str, ...]) -> tuple[str, str]:
    """Of a launch: the name of its study once that is recorded here, and its storage when that is another."""
    match words:
        case ("retry", where, *_):
            return PurePath(where).name, ""
        case (_, "--config", config, *more):
            settings = [word for word in more if not word.startswith("--")]
        case _:
            return "", ""
    try:
        spec = load_study(site.children.root / config, settings).spec
    except OrchestratorError:
        return "", ""
    where = spec.storage if "://" in spec.storage else str(site.children.root / spec.storage)
    if Storage.open(where).uri != site.storage.uri:
        return "", where
    return (spec.name if site.studies.named(spec.name) else ""), ""
