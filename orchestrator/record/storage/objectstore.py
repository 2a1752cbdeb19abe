"""Object stores and other file systems of `pyarrow`: a put is atomic there, nothing is appended or renamed.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` name an S3 service that is not Amazon's, `STORAGE_EMULATOR_HOST` a
GCS one. They are read once, here: what is opened carries the address to the workers.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from orchestrator.record.storage.backend import Backend, Stored, refuse_long

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
    "gcs": ("STORAGE_EMULATOR_HOST",),
}
_GCS_RETRY_S = 30  # its client's own default is 15 minutes of silence
_WITHOUT_DIRECTORIES = ("s3", "gcs", "abfs")
REREADS = 100
"""How often an object that is being replaced is read again; two in a row are rare."""


@dataclass(frozen=True)
class ObjectStore(Backend):
    """Objects below `root` in `arrow`, a `pyarrow.fs.FileSystem`."""

    root: str = ""

    def where(self, path: str) -> str:
        return "/".join(part for part in (self.root, path.strip("/")) if part)

    def read(self, path: str, *, written_once: bool = False, start: int = 0) -> bytes:
        # a store is asked for an object's size, then for so many bytes: of one that is replaced in between,
        # the beginning would come, so its size is looked at once more
        for _ in range(REREADS):
            with self.arrow.open_input_file(self.where(path)) as file:
                refuse_long(file.size(), f"{self.uri}/{path}")
                content = bytes(file.read())
            if written_once or self.arrow.get_file_info(self.where(path)).size in (len(content), None):
                return content[start:]
        raise OSError(errno.EAGAIN, "it is replaced faster than it can be read")

    def write(self, path: str, content: bytes, *, lasting: bool = True) -> None:  # noqa: ARG002 - it always is
        with self._sink(path) as stream:
            stream.write(content)

    def look_up(self, path: str) -> Stored | None:
        return _stored(self.arrow.get_file_info(self.where(path)))

    def list(self, path: str) -> Sequence[Stored]:
        from pyarrow import fs

        selector = fs.FileSelector(self.where(path), allow_not_found=True)
        found = (_stored(info) for info in self.arrow.get_file_info(selector))
        return [item for item in found if item and item.name]

    def delete_file(self, path: str) -> None:
        self.arrow.delete_file(self.where(path))

    def delete_dir(self, path: str) -> None:
        try:
            self.arrow.delete_dir(self.where(path))
        except FileNotFoundError:
            raise
        except OSError:  # GCS has no directories, and Arrow may look for one that only its files have made
            self.arrow.delete_dir_contents(self.where(path), missing_dir_ok=True)

    def put(self, source: Path, path: str) -> int:
        with source.open("rb") as stream, self._sink(path) as sink:
            shutil.copyfileobj(stream, sink, 1 << 20)
            return stream.tell()

    def get(self, path: str, target: Path) -> None:
        with self._source(path) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)

    def copy(self, old: str, new: str) -> None:
        with self._source(old) as source, self._sink(new) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)

    def _source(self, path: str) -> Any:
        # left alone, pyarrow unpacks what is called *.gz, and packs it on the way in
        return self.arrow.open_input_stream(self.where(path), compression=None)

    def _sink(self, path: str) -> Any:
        if self.arrow.type_name not in _WITHOUT_DIRECTORIES:
            self.arrow.create_dir(self.where(path).rpartition("/")[0] or "/", recursive=True)
        return self.arrow.open_output_stream(self.where(path), compression=None)


def _stored(info: Any) -> Stored | None:
    from pyarrow import fs

    if info.type == fs.FileType.NotFound:
        return None
    is_dir = info.type == fs.FileType.Directory
    return Stored(info.base_name, is_dir, 0 if is_dir else int(info.size or 0))


def object_store(uri: str) -> ObjectStore:
    """Return the store and the path in it, as pyarrow understands the URI. Touches nothing."""
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(with_endpoint(uri, os.environ))
    return ObjectStore(uri, filesystem, path.rstrip("/"))


def with_endpoint(uri: str, environment: Mapping[str, str]) -> str:
    """Return the URI with the endpoint that the environment names; one in the URI itself comes first."""
    scheme, _, rest = uri.partition("://")
    given = parse_qs(urlsplit(f"{scheme}://{rest}").query)
    named = [environment[name] for name in _ENDPOINTS.get(scheme, ()) if environment.get(name)]
    more: dict[str, str] = {}
    if named and "endpoint_override" not in given:
        protocol, separator, host = named[0].rpartition("://")
        more["endpoint_override"] = host.rstrip("/")
        more["scheme"] = protocol if separator else "http"
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in given:
        more["retry_limit_seconds"] = str(_GCS_RETRY_S)
    if not more:
        return uri
    return uri + ("&" if given else "?") + urlencode(more)
