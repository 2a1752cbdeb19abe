"""The routes: new study, studies, one study, its files, its TensorBoard."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as AnyHttpException

from orchestrator.api.recorded import OpenedStudy
from orchestrator.errors import Fault, InputError, OrchestratorError
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.pagetemplate import page_template
from orchestrator.reporting.palette import STATES
from orchestrator.study.loading import load_study
from orchestrator.study.visible import MOST_SHOWN
from orchestrator.web import board
from orchestrator.web.again import command_of, offered, retriable, retry_of, seeds_of
from orchestrator.web.bodies import sent
from orchestrator.web.children import ChildAnswer, ChildProcesses, shown
from orchestrator.web.form import Form, form_of, options, overrides
from orchestrator.web.guard import Guard, Sessions, page
from orchestrator.web.kept import KeptStudies, KeptStudy
from orchestrator.web.looks import ASKED_OF_A_STUDY, ASKED_OF_STUDIES, list_studies, look_at
from orchestrator.web.served import served
from orchestrator.web.studyfiles import StudyFile, find_study_files
from orchestrator.web.tables import Asked

MOST_BYTES = 256_000
MOST_FIELDS = 2000
"""Of a form that is sent."""
SEE_OTHER = 303
Filled = dict[str, list[str]]


@dataclass(frozen=True)
class Site:
    """What is served: study files below the directory of `children`, studies recorded in `storage`."""

    children: ChildProcesses
    storage: Storage
    sessions: Sessions
    host: str
    port: int

    @cached_property
    def studies(self) -> KeptStudies:
        """The recorded studies, each kept open once it was looked at."""
        return KeptStudies(self.storage)


def make_app(site: Site) -> Guard:
    """Return the server's application, behind its guard."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        site.children.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.state.site = site
    _static(app)
    _errors(app)
    _new_study(app, site)
    _studies(app, site)
    _retrying(app, site)
    _tensorboard(app, site)
    _leaving(app, site)
    return Guard(app, site.sessions, site.host, site.port)


async def read_form(request: Request) -> Filled:
    """Return the form that was sent, by name. Raises 403 without the session's word, 413 when too long."""
    text = (await sent(request, MOST_BYTES)).decode("utf-8", errors="replace")
    try:
        filled = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(413, f"the form has more than {MOST_FIELDS} fields") from None
    word = filled.pop("word", [""])[0]
    right = request.app.state.site.sessions.word(request.state.session)
    if not hmac.compare_digest(word.encode(), right.encode()):
        raise HTTPException(403, "the form is of another session: load the page again")
    return filled


Sent = Annotated[Filled, Depends(read_form)]


def _page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Return a page with what every page needs, and the word of its forms."""
    site: Site = request.app.state.site
    session = request.state.session
    text = page_template(template, "orchestrator.web", MOST_SHOWN).render(
        word=site.sessions.word(session) if session else "",
        base=_base(request),
        root=str(site.children.root),
        storage=site.storage.uri,
        **values,
    )
    return HTMLResponse(text.encode(errors="backslashreplace"), code)


def _unless_known(
    request: Request, told: object, template: str, values: Callable[[], dict[str, Any]]
) -> Response:
    """Return a page, or no more than that it is the one which the browser has. `told`: what it depends on."""
    tag = f'"{sha256(repr(told).encode()).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304)
    return _page(request, template, tag=tag, **values())


def _base(request: Request) -> str:
    """Return the path that the pages lie below, as the browser sees it."""
    return str(request.scope.get("root_path", ""))


def _onwards(request: Request, path: str) -> Response:
    """Send the browser to another page after a form."""
    return RedirectResponse(f"{_base(request)}{path}", SEE_OTHER)


def _static(app: FastAPI) -> None:
    ours = files("orchestrator.web").joinpath("static")
    report = files("orchestrator.reporting").joinpath("templates/report.css").read_text(encoding="utf-8")
    style = f"{report}\n{ours.joinpath('page.css').read_text(encoding='utf-8')}"
    style += "".join(f".{state} {{ --state: {colour}; }}\n" for state, colour in STATES.items())
    script = ours.joinpath("page.js").read_text(encoding="utf-8")

    @app.get("/static/page.css")
    def css() -> Response:
        return Response(style, media_type="text/css")

    @app.get("/static/page.js")
    def javascript() -> Response:
        return Response(script, media_type="text/javascript")


def _errors(app: FastAPI) -> None:
    @app.exception_handler(OrchestratorError)
    def orchestrator_error(request: Request, error: OrchestratorError) -> Response:
        lines = [str(fault) for fault in error.faults] if isinstance(error, InputError) else [str(error)]
        return _page(request, "problem.html.j2", 400, title="This cannot be done", lines=lines)

    @app.exception_handler(AnyHttpException)
    def http_error(request: Request, error: AnyHttpException) -> Response:
        lines = [str(error.detail)]
        return _page(request, "problem.html.j2", error.status_code, title="No", lines=lines)


# ---- new study -------------------------------------------------------------------------------------------


def _new_study(app: FastAPI, site: Site) -> None:
    @app.get("/new")
    def choose(request: Request, config: str = "") -> Response:
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
        answer = site.children.ask("ablate", *words, "--dry-run")
        if answer.returncode or action != "start":
            return _form_page(request, site, config, filled, answer, shown(["ablate", *words]))
        return _onwards(request, f"/launches/{site.children.launch('ablate', *words)}")

    @app.get("/launches/{name}")
    def launched(request: Request, name: str) -> Response:
        launch = site.children.launched(name)
        if launch is None:
            raise HTTPException(404, "no study was started under this name")
        study, elsewhere = _study_of(site, launch.words)
        return _page(request, "launch.html.j2", launch=launch, study=study, elsewhere=elsewhere)


def _form(site: Site, config: str, known: tuple[StudyFile, ...]) -> Form:
    """Raise `InputError` for a file that is not offered, or that is no sound study."""
    if config not in {file.path for file in known}:
        raise InputError(Fault("no study file of this directory", field="config", value=config[:200]))
    root = site.children.root
    raw = load_study(root / config, cwd=root).raw
    return form_of(raw, {file.entrypoint for file in known if file.entrypoint})


def _form_page(
    request: Request, site: Site, config: str, filled: Filled, answer: ChildAnswer | None, command: str = ""
) -> Response:
    known = find_study_files(site.children.root)
    config = config or (known[0].path if known else "")
    form, problems = None, []
    if config:
        try:
            form = _form(site, config, known)
        except InputError as error:
            problems = [str(fault) for fault in error.faults]
    code = 422 if answer is not None and answer.returncode else 200
    values = {"known": known, "config": config, "form": form, "problems": problems}
    return _page(request, "new.html.j2", code, filled=filled, answer=answer, command=command, **values)


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


# ---- studies ---------------------------------------------------------------------------------------------


def _kept(site: Site, name: str) -> KeptStudy:
    kept = site.studies.named(name)
    if kept is None:
        raise HTTPException(404, "no study of this name is recorded here")
    return kept


def _run(site: Site, name: str) -> OpenedStudy:
    return _kept(site, name).run


def _around(site: Site, kept: KeptStudy) -> dict[str, Any]:
    """Return what the page of a study offers: its TensorBoard, and the commands that go on with it."""
    run, root, found = kept.run, site.children.root, kept.status()

    def again() -> dict[str, Any]:
        actions, seeds = offered(run, found), seeds_of(run)
        more = {action: shown(command_of(run, root, action, seeds)) for action in actions}
        return {"more": more, "seeds": seeds}

    return {"board": site.children.board(run.paths.root) is not None, **kept.once("again", found, again)}


def _where(site: Site, name: str) -> str:
    """Return the directory of a recorded study, as commands take it from any place."""
    return f"{site.storage.uri.rstrip('/')}/{_run(site, name).paths.root}"


def _studies(app: FastAPI, site: Site) -> None:
    @app.get("/")
    def studies(request: Request) -> Response:
        asked = Asked.of(request.query_params, *ASKED_OF_STUDIES)
        part = list_studies(site.studies, asked)
        said = [(one["name"], one.get("problem"), one.get("version"), one.get("report")) for one in part.rows]
        told = (asked, part.all, said)
        return _unless_known(request, told, "studies.html.j2", lambda: {"studies": part, "asked": asked})

    @app.get("/studies/{name}/")
    def study(request: Request, name: str) -> Response:
        kept, asked = _kept(site, name), Asked.of(request.query_params, *ASKED_OF_A_STUDY)
        around = {"name": name, "asked": asked, **_around(site, kept)}
        told = (kept.version, kept.run.storage.exists(kept.run.paths.report_html), around)
        return _unless_known(request, told, "study.html.j2", lambda: {"look": look_at(kept, asked), **around})

    only_ours = [Depends(read_form)]  # the form holds nothing but the session's word

    @app.post("/studies/{name}/stop", dependencies=only_ours)
    def stop(request: Request, name: str) -> Response:
        return _done(request, site, name, "stop")

    @app.post("/studies/{name}/report", dependencies=only_ours)
    def write_report(request: Request, name: str) -> Response:
        return _done(request, site, name, "report", "--write")

    @app.post("/studies/{name}/again")
    def again(request: Request, name: str, filled: Sent) -> Response:
        run = _run(site, name)
        action = filled.get("action", [""])[0]
        if action not in offered(run, run.status()):
            raise HTTPException(409, "this cannot be done with the study now: load its page again")
        words = command_of(run, site.children.root, action, filled.get("seeds", [""])[0])
        answer = site.children.ask(*words, "--dry-run")
        if answer.returncode:
            return _refused(request, words, answer)
        return _onwards(request, f"/launches/{site.children.launch(*words)}")

    @app.get("/studies/{name}/files/{path:path}")
    def file(request: Request, name: str, path: str) -> Response:
        run = _run(site, name)
        found = served(run, path)
        if found is None:
            raise HTTPException(404, "no such file, or one that is not shown")
        below = f"/studies/{quote(name)}/files/{quote(path)}"
        if isinstance(found, Response):
            return _apart(site, request.state.session, name, below) if request.state.session else found
        if path and not path.endswith("/"):
            return _onwards(request, f"{below}/")
        return _page(request, "folder.html.j2", name=name, path=path, entries=found)


def _retrying(app: FastAPI, site: Site) -> None:
    def found(name: str, cell: str) -> tuple[KeptStudy, TrialRecord]:
        kept = _kept(site, name)
        there = retriable(kept.run, kept.status())
        if cell not in there:
            raise HTTPException(409, "this cell cannot be run again now: load the page of its study again")
        return kept, there[cell]

    @app.get("/studies/{name}/retry")
    def ask(request: Request, name: str, cell: str = "") -> Response:
        kept, trial = found(name, cell)
        command = shown(retry_of(kept.run, site.children.root, trial, accepts=False))
        return _page(request, "retry.html.j2", name=name, cell=trial, command=command)

    @app.post("/studies/{name}/retry")
    def retry(request: Request, name: str, filled: Sent) -> Response:
        kept, trial = found(name, filled.get("cell", [""])[0])
        words = retry_of(kept.run, site.children.root, trial, accepts="accepts" in filled)
        return _onwards(request, f"/launches/{site.children.launch(*words)}")


def _apart(site: Site, session: str, name: str, below: str) -> Response:
    """Send the browser to a file by way of a ticket, without telling the file from where."""
    answer = RedirectResponse(f"/{site.sessions.ticket(session, name)}{below}", SEE_OTHER)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _done(request: Request, site: Site, name: str, verb: str, *flags: str) -> Response:
    """Run a command on a study and go back to its page; what it refuses is shown."""
    words = [verb, _where(site, name), *flags]
    answer = site.children.ask(*words)
    if answer.returncode > 1:  # 1: the report is of an unfinished study
        return _refused(request, words, answer)
    return _onwards(request, f"/studies/{quote(name)}/")


def _refused(request: Request, words: list[str], answer: ChildAnswer) -> Response:
    return _page(request, "problem.html.j2", 400, title=shown(words), lines=answer.stderr.splitlines())


# ---- TensorBoard -----------------------------------------------------------------------------------------


def _tensorboard(app: FastAPI, site: Site) -> None:
    @app.post("/studies/{name}/tensorboard", dependencies=[Depends(read_form)])
    def open_board(request: Request, name: str) -> Response:
        site.children.open_board(name, _where(site, name))
        return _onwards(request, f"/studies/{quote(name)}/tensorboard/")

    @app.api_route("/studies/{name}/tensorboard/{path:path}", methods=["GET", "POST"])
    async def through(request: Request, name: str, path: str) -> Response:
        port = site.children.board(name)
        if port is None:
            raise HTTPException(404, "TensorBoard does not run; the study's page starts it")
        answer = await board.pass_on(request, port, path)
        if answer is not None:
            return answer
        if path:
            return PlainTextResponse("TensorBoard is starting", 503)
        return _page(request, "starting.html.j2", 503, name=name)


# ---- the end of a session --------------------------------------------------------------------------------


def _leaving(app: FastAPI, site: Site) -> None:
    @app.get("/leave")
    def ask(request: Request) -> Response:
        return _page(request, "leave.html.j2")

    @app.post("/leave", dependencies=[Depends(read_form)])
    def leave(request: Request) -> Response:
        site.sessions.end(request.state.session)
        return page("The session has ended. The printed address, with its token, begins another.", 200)
