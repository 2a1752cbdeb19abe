"""Which back end a URI names: those of this package, and those that others register."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from orchestrator.errors import Fault, StudyError
from orchestrator.record.storage.backend import Backend
from orchestrator.study.plugins import Registry

_DIRECTORY = "orchestrator.record.storage.directory:directory_of"
_OBJECTS = "orchestrator.record.storage.objectstore:object_store"

SCHEMES: Registry[Callable[[str], Backend]] = Registry(
    "storage",
    "orchestrator.storages",
    {"file": _DIRECTORY, **dict.fromkeys(("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"), _OBJECTS)},
    callable,
)
"""By the scheme of a URI, what opens it, touching nothing."""


def backend_at(uri: str) -> Backend:
    """Return the place that a path or a URI names.

    Raises:
        StudyError: the URI cannot be understood.
    """
    scheme, separator, _ = uri.partition("://")
    _refuse_secrets(uri)
    name = scheme if separator else "file"
    try:
        return SCHEMES.get(name)(uri) if name in SCHEMES else _by_fsspec(uri)
    except (ValueError, OSError, ImportError, NotImplementedError) as error:
        hint = "a path, file://, s3://, gs:// or another URI that fsspec knows"
        fault = Fault(f"cannot use this storage: {error}", field="storage", value=uri, hint=hint)
        raise StudyError(fault) from None


def _by_fsspec(uri: str) -> Backend:
    from orchestrator.record.storage.fsspecfiles import FsspecFiles

    return FsspecFiles.at(uri)


def _refuse_secrets(uri: str) -> None:
    """Refuse secrets in a URI: a study's storage is written into its record and into messages."""
    parts = urlsplit(uri)
    if parts.password is None and not {"secret_key", "session_token"} & set(parse_qs(parts.query)):
        return
    shown = f"{parts.scheme}://...@{parts.hostname or ''}{parts.path}"
    hint = "put them into the environment or the profile of the cloud's command line"
    fault = Fault("credentials do not belong in the URI", field="storage", value=shown, hint=hint)
    raise StudyError(fault)
