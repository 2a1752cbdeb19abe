"""`orchestrate serve`: a page to choose, start and watch studies."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.options import StorageOption
from orchestrator.errors import Fault, InputError

EXTRA = ("fastapi", "jinja2", "plotly", "uvicorn")
"""What the extra [web] brings."""
GRACE_S = 3
"""How long open requests may take when the server ends."""

FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Where the study files and the code lie.", exists=False)
]


def command(
    folder: FolderArgument = Path(),
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8765,
    storage: StorageOption = "runs",
    forget: Annotated[
        bool, typer.Option("--forget", help="End the sessions that an earlier server has begun.")
    ] = False,
) -> None:
    """Serve a page to choose, start and watch studies.

    The page starts `orchestrate ablate` with what was chosen; studies go on when the server ends. It asks for
    the token that is in the printed address; pages that are open already go on with a server that is started
    again at the same address.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        hint = "pip install 'orchestrator[web]'"
        raise InputError(Fault("the page needs an extra", value=", ".join(missing), hint=hint))
    root = folder.resolve()
    if not root.is_dir():
        raise InputError(Fault("there is no such directory", field="DIR", value=str(folder)))
    with _listening(host, port) as listener:
        _serve(root, listener, host, storage, keep=port != 0, forget=forget)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises `InputError` when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        # it listens from now on: who is quick waits for the server instead of being refused
        return socket.create_server(address, family=family, dualstack_ipv6=both)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # it goes on with the address
        hint = "another --port, or 0 for any that is free"
        fault = Fault(f"cannot listen there: {reason}", value=f"{host}:{port}", hint=hint)
        raise InputError(fault) from None


def _serve(root: Path, listener: socket.socket, host: str, storage: str, *, keep: bool, forget: bool) -> None:
    import uvicorn

    from orchestrator.record.storage import Storage
    from orchestrator.web.answers import Site
    from orchestrator.web.app import make_app
    from orchestrator.web.bodies import PunctualConnections
    from orchestrator.web.children import ChildProcesses
    from orchestrator.web.guard import Sessions, is_loopback
    from orchestrator.web.keptsecrets import KeptSecrets
    from orchestrator.web.pageserver import PageServer

    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(32)
    where = storage if "://" in storage else str(root / Path(storage).expanduser())
    # a port that was drawn is not drawn again: there is no page to go on
    kept = KeptSecrets(root, where, host, port) if keep else None
    if kept is not None and forget:
        kept.forget()
    sessions = Sessions(token, kept=kept)
    site = Site(ChildProcesses(root), Storage.open(where), sessions, host, port)
    # no access log: it would hold the token
    config = uvicorn.Config(
        make_app(site),
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
        http=PunctualConnections,
        timeout_graceful_shutdown=GRACE_S,
    )
    shown = f"[{host}]" if ":" in host else host
    console.data(f"http://{shown}:{port}/?token={token}")
    sys.stdout.flush()  # the server does not come back
    console.progress(f"serving {root}; Ctrl-C ends the page, studies go on")
    if not is_loopback(host):
        console.progress("other machines reach it, unencrypted: who has the address may start studies here")
    PageServer(config, site.news.close).run(sockets=[listener])
