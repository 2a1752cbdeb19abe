"""Object stores by their URI: what `pyarrow` makes of it, with the endpoint that the environment names.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` name an S3 service that is not Amazon's, `STORAGE_EMULATOR_HOST` a
GCS one. They are read once, here: what is opened carries the address to the workers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from orchestrator.errors import Fault, StudyError

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
    "gcs": ("STORAGE_EMULATOR_HOST",),
}
_GCS_RETRY_S = 30  # its client's own default is 15 minutes of silence


def open_uri(uri: str) -> tuple[Any, str]:
    """The `pyarrow.fs.FileSystem` and the path in it. Touches nothing.

    Raises:
        StudyError: the URI cannot be understood.
    """
    from pyarrow import ArrowException, fs

    _refuse_secrets(uri)
    try:
        filesystem, path = fs.FileSystem.from_uri(with_endpoint(uri, os.environ))
    except (ArrowException, ValueError, OSError, ImportError) as error:
        hint = "a path, file://, s3:// or gs://"
        fault = Fault(f"cannot use this storage: {error}", field="storage", value=uri, hint=hint)
        raise StudyError(fault) from None
    return filesystem, path


def _refuse_secrets(uri: str) -> None:
    """A study's storage is written into its record and into messages."""
    parts = urlsplit(uri)
    if parts.password is None and not {"secret_key", "session_token"} & set(parse_qs(parts.query)):
        return
    shown = f"{parts.scheme}://...@{parts.hostname or ''}{parts.path}"
    hint = "put them into the environment or the profile of the cloud's command line"
    fault = Fault("credentials do not belong in the URI", field="storage", value=shown, hint=hint)
    raise StudyError(fault)


def with_endpoint(uri: str, environment: Mapping[str, str]) -> str:
    """The URI with the endpoint that the environment names; one in the URI itself comes first."""
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
