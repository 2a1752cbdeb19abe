"""The cluster file of `ray up`, read for what the laptop needs of it. Every fault at once, with its line."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import Fault, InputError
from orchestrator.remote.onhost import is_remote
from orchestrator.remote.startcommands import GCS_PORT, RayStart, ray_start
from orchestrator.study.faults import dotted, nearest, show
from orchestrator.study.yamlfile import Document, parse_yaml

LOCAL = "local"
TOKEN_NAME = "auth_token"  # noqa: S105 - a file name
DEFAULT_TOKEN = "~/.ray/auth_token"  # noqa: S105 - where Ray looks for it
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108 - only compared with
SHARED_HINT = "name a path that all nodes share (NFS, Lustre), or s3://, gs://"


@dataclass(frozen=True)
class Auth:
    """How to reach the hosts."""

    user: str
    private_key: Path | None = None
    proxy_command: str | None = None


@dataclass(frozen=True)
class ClusterFile:
    """What the laptop needs to know of a cluster.

    `root` is where `ray up` is run. `head` and `workers` are addresses, of machines one owns
    (`provider: local`) only; a cloud gives its own. `wanted` counts the nodes that have to be there, head
    included. `storage` is what all nodes share, where the file names it (`provider.storage`).
    """

    path: Path
    root: Path
    name: str
    provider: str
    auth: Auth
    head: str | None
    workers: tuple[str, ...]
    wanted: int
    head_start: RayStart
    worker_start: RayStart
    token: Path
    storage: str | None = None
    region: str = ""

    @property
    def is_local(self) -> bool:
        """Machines one owns: no cloud creates or deletes them."""
        return self.provider == LOCAL

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every address that the file names, the head first."""
        return ((self.head,) if self.head else ()) + self.workers


def read_cluster_file(path: Path) -> ClusterFile:
    """Read and check a cluster file; starts nothing.

    Raises:
        InputError: with every fault, each with its line.
    """
    document = _parse(path)
    faults = list(_Checks(document, path).all())
    if faults:
        raise InputError(sorted(faults, key=lambda fault: fault.line or 0))
    return _cluster(document.data, path)


def _parse(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "name it: --cluster FILE; `cluster.yaml` of the project is one to copy"
        raise InputError(Fault("there is no such cluster file", file=str(path), hint=hint)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Fault(f"cannot be read: {error}", file=str(path))) from None
    document = parse_yaml(text, str(path))
    if not isinstance(document.data, dict):
        message = "a cluster file is a mapping of keys such as cluster_name, provider, auth"
        raise InputError(Fault(message, file=str(path), line=1, value=show(document.data)))
    return document


def _cluster(data: Mapping[str, Any], path: Path) -> ClusterFile:
    provider, auth = data["provider"], data.get("auth") or {}
    key = auth.get("ssh_private_key")
    local = provider["type"] == LOCAL
    root = launch_folder(data, path)
    workers = tuple(provider["worker_ips"]) if local else ()
    mounts = {str(there): str(here) for there, here in (data.get("file_mounts") or {}).items()}
    token = next((here for there, here in mounts.items() if Path(there).name == TOKEN_NAME), None)
    return ClusterFile(
        path=path,
        root=root,
        name=str(data["cluster_name"]),
        provider=str(provider["type"]),
        auth=Auth(
            user=str(auth.get("ssh_user", "ubuntu")),
            private_key=root / Path(key).expanduser() if key else None,
            proxy_command=auth.get("ssh_proxy_command"),
        ),
        head=str(provider["head_ip"]) if local else None,
        workers=workers,
        wanted=1 + _workers_wanted(data, len(workers), local=local),
        head_start=_start(data, "head_start_ray_commands"),
        worker_start=_start(data, "worker_start_ray_commands"),
        token=root / Path(token or DEFAULT_TOKEN).expanduser(),
        storage=provider.get("storage"),
        region=str(provider.get("region", "")),
    )


def _start(data: Mapping[str, Any], key: str) -> RayStart:
    return ray_start(data.get(key) or []) or RayStart("", f"--port={GCS_PORT}")


def _workers_wanted(data: Mapping[str, Any], named: int, *, local: bool) -> int:
    """All machines that one owns, or `max_workers` of them; in a cloud those that are always kept."""
    if local:
        return min(named, int(data.get("max_workers", named)))
    types = data.get("available_node_types") or {}
    head = data.get("head_node_type")
    return sum(int(kind.get("min_workers", 0)) for name, kind in types.items() if name != head)


class _Checks:
    """One method per part of the file; each yields what is wrong with it."""

    def __init__(self, document: Document, path: Path) -> None:
        self.data, self.places, self.file = document.data, document.places, str(path)
        self.root = launch_folder(self.data, path)

    def all(self) -> Iterator[Fault]:
        known = list(self._schema())
        yield from known
        if not known:
            yield from self._auth()
            yield from self._storage()
            if self.data["provider"]["type"] == LOCAL:
                yield from self._hosts()
            yield from self._start_commands()
            yield from self._mounts()

    def _fault(self, where: tuple[str | int, ...], message: str, **more: Any) -> Fault:
        place = next(
            (self.places[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self.places), None
        )
        return Fault(message, self.file, place.line if place else None, dotted(where) or None, **more)

    def _schema(self) -> Iterator[Fault]:
        """Ray's own schema, so that what `ray up` would refuse after a while is refused at once."""
        from jsonschema import Draft7Validator

        schema = _ray_schema()
        for error in Draft7Validator(schema).iter_errors(self.data):
            where = tuple(error.absolute_path)
            if error.validator == "additionalProperties":
                valid = error.schema.get("properties", {})
                for key in sorted(set(error.instance) - set(valid)):
                    yield self._fault((*where, key), "there is no such setting", hint=nearest(key, valid))
            elif error.validator == "required":
                missing = [key for key in error.validator_value if key not in error.instance]
                yield self._fault(where, f"{' and '.join(missing)} must be given")
            else:
                kinds = error.validator_value if error.validator == "type" else None
                message = f"must be {_article(kinds)}" if kinds else error.message
                yield self._fault(where, message, value=show(error.instance))

    def _auth(self) -> Iterator[Fault]:
        auth = self.data.get("auth") or {}
        if "ssh_user" not in auth:
            yield self._fault(("auth",), "ssh_user must be given: the user that SSH logs in as on every host")
        key = auth.get("ssh_private_key")
        if key and not (self.root / Path(key).expanduser()).is_file():
            yield self._fault(
                ("auth", "ssh_private_key"),
                "there is no such file",
                value=show(key),
                hint="name the private key that opens the hosts, or take the line out to use the SSH agent",
            )
        if (self.data.get("docker") or {}).get("container_name"):
            hint = "set up the environment in setup_commands instead"
            yield self._fault(("docker",), "hosts that run Ray in a container are not supported", hint=hint)

    def _storage(self) -> Iterator[Fault]:
        storage = self.data["provider"].get("storage")
        if storage is None:
            return
        problem = unshared(storage) if isinstance(storage, str) else "must be a path or a URI"
        if problem:
            yield self._fault(("provider", "storage"), problem, value=show(storage), hint=SHARED_HINT)

    def _hosts(self) -> Iterator[Fault]:
        provider = self.data["provider"]
        if "coordinator_address" in provider:
            yield self._fault(("provider", "coordinator_address"), "name head_ip and worker_ips instead")
            return
        head, workers = provider.get("head_ip"), provider.get("worker_ips")
        if not head:
            yield self._fault(("provider",), "head_ip must be given")
        if not workers and workers != []:
            yield self._fault(("provider",), "worker_ips must be given")
        seen: dict[str, str] = {}
        given: list[tuple[tuple[str | int, ...], Any]] = [(("provider", "head_ip"), head)]
        given += ((("provider", "worker_ips", n), host) for n, host in enumerate(workers or ()))
        for where, host in given:
            if host is None:
                continue
            if not isinstance(host, str) or not host or any(c.isspace() or c in "<>@/" for c in host):
                hint = "an address or a host name that SSH can reach, without the user"
                yield self._fault(where, "is no address", value=show(host), hint=hint)
            elif host in seen:
                yield self._fault(where, f"this host is given twice, also as {seen[host]}", value=host)
            else:
                seen[host] = dotted(where)

    def _start_commands(self) -> Iterator[Fault]:
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            commands = self.data.get(key)
            if commands and ray_start(commands) is None:
                yield self._fault((key,), "none of these commands is a `ray start`")
        head = ray_start(self.data.get("head_start_ray_commands") or [])
        if head is not None and not head.dashboard_is_private:
            yield self._fault(
                ("head_start_ray_commands",),
                "the dashboard may listen on loopback only: who reaches it can run code on the cluster",
                hint="--dashboard-host=127.0.0.1; `orchestrate` comes to it through SSH",
            )

    def _mounts(self) -> Iterator[Fault]:
        for there, here in (self.data.get("file_mounts") or {}).items():
            if not isinstance(here, str):
                yield self._fault(("file_mounts", there), "must be a path on this machine", value=show(here))
            elif Path(there).name != TOKEN_NAME and not (self.root / Path(here).expanduser()).exists():
                hint = f"looked in {self.root}"
                yield self._fault(("file_mounts", there), "there is no such file", value=here, hint=hint)


def launch_folder(data: Mapping[str, Any], file: Path) -> Path:
    """Where `ray up` has to be run, so that the relative paths of `file_mounts` are found.

    Here, beside the file, or in a directory above it; here, where that holds nowhere.
    """
    mounts = data.get("file_mounts")
    sources = mounts.values() if isinstance(mounts, dict) else ()
    relative = [path for path in sources if isinstance(path, str) and not path.startswith(("/", "~"))]
    folders = (Path.cwd(), *file.resolve().parents)
    return next((f for f in folders if all((f / path).exists() for path in relative)), folders[0])


def unshared(storage: str) -> str | None:
    """Return what keeps a storage from being shared, as far as its text tells; None: nothing."""
    if is_remote(storage):
        return None
    path = storage.removeprefix("file://")
    if path.startswith("~"):
        return "a home directory is another one on each node"
    if not path.startswith("/"):
        return "a relative path is another place on each node"
    if f"{path}/".startswith(TEMPORARY):
        return "a temporary directory is another one on each node"
    return None


def _article(kinds: Any) -> str:
    words = {"object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number"}
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    return " or ".join(words.get(name, f"a {name}") for name in names)


@functools.cache
def _ray_schema() -> dict[str, Any]:
    """Read from the installed package, without importing it."""
    spec = importlib.util.find_spec("ray")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "autoscaler" / "ray-schema.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
    raise InputError(Fault("ray is not installed here", hint="make install; the laptop needs ray[default]"))
