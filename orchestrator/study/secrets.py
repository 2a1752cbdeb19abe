"""What looks like a secret: refused in a study file, masked in what is recorded.

A study file, its resolved copy, the plan and the report are made to be shown. So a secret belongs into the
environment of the workers, where the entrypoint reads it, and not into the study.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.study.faults import Problem, walk

MASK = "***"
_KEY = re.compile(
    r"(?:^|[._-])(?:password|passwd|passphrase|secret|secret_?key|client_secret|api_?key|access_?key"
    r"|access_?key_?id|private_?key|credentials?|(?:api|auth|access|bearer|refresh|hf|wandb|github)_?token)$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?:[^-]|-(?!----)){0,20000}-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}"
    r"|\bhooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{8,}"
    r"|\bdiscord(?:app)?\.com/api/webhooks/[\w/-]{8,}"
)
_IN_URL = re.compile(r"(?<=://)[^/\s:@'\"]{0,200}:[^/\s@'\"]{1,200}(?=@)")
_ASSIGNED = re.compile(
    r"(?i)(\b[\w-]{0,40}(?:password|passwd|secret|api_?key|access_?key|auth_?token|access_?token)\b[\"']?"
    r"\s*[:=]\s*[\"']?)([^\s\"',]{8,})"
)
# A part of each secret that the two find: most texts have none, and are not searched, which takes long.
_IN_VALUE = (
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "gh",
    "glpat-",
    "hf_",
    "sk-",
    "xox",
    "AIza",
    "hooks.slack",
    "discord",
)
_IN_ASSIGNED = ("passw", "secret", "key", "token")
_ENVIRONMENT = re.compile(
    r"(?i)(?:token|secret|passw(?:or)?d|api_?key|access_?key|credentials?|webhook)(?:_id|_url)?$"
)
_SHORTEST = 8
"""Characters below which a value of the environment is not masked: it would hide words at random."""


def looks_secret(key: str, value: object) -> bool:
    """Whether a setting looks like a secret, by its name and by its value."""
    if not isinstance(value, str):
        return False
    if _VALUE.search(value) or _IN_URL.search(value):
        return True
    # `pad_token: <pad>` and `token: bpe` are words of the field; a reference is no literal
    named = _KEY.search(key) or key.rpartition(".")[2].lower() == "token"
    return bool(named) and len(value) >= _SHORTEST and "${" not in value


def secret_problems(data: Mapping[str, Any]) -> list[Problem]:
    """Every setting of a study that looks like a secret; the value is not shown."""
    in_code = "read it from the environment in your code (os.environ), and set it where the workers start"
    in_url = "write ${SLACK_WEBHOOK}, or another name, and set that variable where the study is started"
    return [
        Problem(
            path,
            "looks like a secret, and a study file is recorded and shown",
            hint=in_url if path[:1] == ("notify",) else in_code,
        )
        for path, value in walk(data)
        if looks_secret(next((key for key in reversed(path) if isinstance(key, str)), ""), value)
    ]


def environment_secrets(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of variables that are named like secrets, longest first; paths and short words are left out."""
    found = os.environ if environment is None else environment
    values = {value for name, value in found.items() if _ENVIRONMENT.search(name)}
    words = (value for value in values if len(value) >= _SHORTEST and not value.startswith("/"))
    return tuple(sorted(words, key=len, reverse=True))


def masked(text: str, known: tuple[str, ...] = ()) -> str:
    """`text` without what looks like a secret, and without the `known` ones."""
    for value in known:
        text = text.replace(value, MASK)
    text = _IN_URL.sub(MASK, _VALUE.sub(MASK, text) if _holds(text, _IN_VALUE) else text)
    return _ASSIGNED.sub(rf"\1{MASK}", text) if _holds(text.lower(), _IN_ASSIGNED) else text


def _holds(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)
