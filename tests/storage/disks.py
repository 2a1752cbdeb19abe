"""Real file systems that fill up, become read-only or die, in a mount namespace of the test's own.

A thread that has left the namespace of its process sees the mounts that it makes, and so do the threads and
processes that it starts; the mounts go when the last of them does.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_CLONE_NEWNS = 0x00020000
_F_ADD_SEALS, _F_SEAL_FUTURE_WRITE = 1033, 0x0010


def own_mounts(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test where it may mount; skipped, with the reason, where that is not possible."""

    @functools.wraps(test)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        raised: list[BaseException] = []

        def run() -> None:
            try:
                _leave_namespace()
                test(*args, **kwargs)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if raised:
            raise raised[0]

    return wrapped


def _leave_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        pytest.skip(f"no mount namespace of one's own: {os.strerror(ctypes.get_errno())} (needs root)")
    command("mount", "--make-rprivate", "/")


def command(*words: str) -> str:
    """Run a program; its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


def small_disk(folder: Path, size: str) -> Path:
    """A file system in memory with `size` (as `mount` takes it) at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    return folder


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all room but `leave` bytes; deleting it mends the fault."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as sink:
        while True:
            space = os.statvfs(folder)
            try:
                os.posix_fallocate(sink.fileno(), 0, max(1, space.f_bavail * space.f_frsize - leave))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise  # else a study has written between look and take: there is less room now
            else:
                return ballast


def remount(folder: Path, how: str) -> None:
    """`ro`, `rw` or any other option."""
    command("mount", "-o", f"remount,{how}", str(folder))


class DyingDisk:
    """A disk with an ext4 file system at `folder` that fails on request.

    `die`: every write fails. It is a loop device over memory whose pages are sealed against writing: from
    then on the kernel itself gets I/O errors. `protect`: ext4 is told of an error, and makes itself
    read-only, as it does when a disk begins to fail. `revive` checks and mounts what had reached the disk.
    """

    def __init__(self, folder: Path, mib: int = 32) -> None:
        for program in ("mkfs.ext4", "losetup", "e2fsck"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._memory = os.memfd_create("disk", os.MFD_ALLOW_SEALING)
        os.ftruncate(self._memory, mib << 20)
        command("mkfs.ext4", "-q", "-F", "-O", "^has_journal", self._path)
        self._mount()

    @property
    def _path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._memory}"

    def _mount(self) -> None:
        try:
            loop = command("losetup", "--show", "-f", self._path)
        except AssertionError as error:
            pytest.skip(f"no loop device: {error}")
        try:
            command("mount", "-o", "errors=continue", loop, str(self.folder))
            self._device = Path(loop).name
        finally:
            command("losetup", "-d", loop)  # once it is unmounted

    def die(self) -> None:
        fcntl.fcntl(self._memory, _F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)

    def protect(self) -> None:
        trigger = Path(f"/sys/fs/ext4/{self._device}/trigger_fs_error")
        if not trigger.exists():
            pytest.skip(f"ext4 has no {trigger.name} here")
        remount(self.folder, "errors=remount-ro")
        trigger.write_text("a test")

    def revive(self) -> None:
        command("umount", str(self.folder))
        reached = self._memory
        self._memory = os.memfd_create("disk", os.MFD_ALLOW_SEALING)
        with os.fdopen(reached, "rb") as source, os.fdopen(os.dup(self._memory), "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        checked = subprocess.run(["e2fsck", "-fy", self._path], capture_output=True, text=True, check=False)
        assert checked.returncode in (0, 1), checked.stdout  # clean, or mended
        self._mount()

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], capture_output=True, check=False)
        os.close(self._memory)
