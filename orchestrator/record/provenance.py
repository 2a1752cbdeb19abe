"""Where results come from: who, which file, commit and difference, packages, hardware.

Never environment variables.
"""

from __future__ import annotations

import getpass
import hashlib
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.study.secrets import environment_secrets, masked

_DIFF_LIMIT = 1 << 20
_TIMEOUT_S = 20


def collect_env(code_root: Path) -> dict[str, Any]:
    """Python, packages, platform, hardware and git state of `code_root` (null outside a repository)."""
    return {
        "git": git_state(code_root),
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": _packages(),
        "hardware": {
            "machine": platform.machine(),
            "cpu": _cpu_name(),
            "cpus": os.cpu_count(),
            "memory_bytes": _memory_bytes(),
            "gpus": _gpus(),
        },
    }


def this_user() -> str:
    """`user@host`: who asks, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def study_file(source: Path) -> dict[str, str] | None:
    """Return path and SHA-256 of the file that a study came from; None where it came from none."""
    try:
        return {"path": str(source.resolve()), "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    except OSError:
        return None


def git_state(code_root: Path) -> dict[str, Any] | None:
    """Commit, branch, untracked files, difference to the commit (first MiB, masked); None without one."""
    commit = _git(code_root, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(code_root, "diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".") or ""
    untracked = _git(code_root, "ls-files", "--others", "--exclude-standard", "--", ".") or ""
    branch = _git(code_root, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "commit": commit.strip(),
        "branch": branch.strip() if branch else None,
        "dirty": bool(diff.strip() or untracked.strip()),
        "untracked": untracked.splitlines()[:1000],
        "diff": masked(diff[:_DIFF_LIMIT], environment_secrets()),
        "diff_truncated": len(diff) > _DIFF_LIMIT,
    }


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    return None if git is None else _output([git, "-C", str(root), *arguments])


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _packages() -> dict[str, str]:
    named = ((one.metadata["Name"], one.version) for one in importlib.metadata.distributions())
    return dict(sorted({name.lower(): version for name, version in named if name}.items()))


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _gpus() -> list[dict[str, str]]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    fields = ("name", "memory.total", "driver_version")
    output = _output([tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]) or ""
    rows = [[part.strip() for part in line.split(",")] for line in output.splitlines() if line.strip()]
    return [dict(zip(fields, row, strict=False)) for row in rows]
