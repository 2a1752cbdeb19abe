"""Commands on a host over SSH: the system's `ssh`, so that agents, jump hosts and `~/.ssh/config` work."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

from orchestrator.errors import ClusterUnavailable
from orchestrator.remote.clusterfile import Auth
from orchestrator.remote.startcommands import in_login_shell

CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120.0
SSH_FAILED = 255
MARK = "orchestrate-answer:"
"""Starts each line of an answer: whatever else a login shell prints is not ours."""
_LAUNCH = "import sys; exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), sys.argv[2], 'exec'))"
T = TypeVar("T")


class Unreachable(ClusterUnavailable):
    """A host does not let us in; `said` is the last thing that `ssh` printed."""

    def __init__(self, address: str, said: str) -> None:
        self.address, self.said = address, said
        super().__init__(f"{address} cannot be reached by SSH: {said}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.address, self.said)


def why(error: ClusterUnavailable) -> str:
    """Return what a host that does not answer has said, without its name."""
    return error.said if isinstance(error, Unreachable) else str(error)


@dataclass(frozen=True)
class Host:
    """One host of a cluster: where it is, how to log in, and the environment in which Ray is started there.

    `keeps_key`: its host key stays the same, so a changed one is refused. Addresses in a cloud are given to
    new machines all the time.
    """

    address: str
    auth: Auth
    environment: str = ""
    keeps_key: bool = True

    def ssh_words(self, *, terminal: bool = False) -> list[str]:
        """`ssh` and its options, up to the command."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": CONNECT_TIMEOUT_S,
            "ServerAliveInterval": 5,
            "ServerAliveCountMax": 3,
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "accept-new" if self.keeps_key else "no",
        }
        if not self.keeps_key:
            options["UserKnownHostsFile"] = "/dev/null"
        if self.auth.private_key is not None:
            options["IdentitiesOnly"] = "yes"
        if self.auth.proxy_command:
            options["ProxyCommand"] = self.auth.proxy_command
        words = ["ssh", "-tt" if terminal else "-T"]
        words += ["-i", str(self.auth.private_key)] if self.auth.private_key is not None else []
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return [*words, f"{self.auth.user}@{self.address}"]

    def ask(
        self,
        program: str,
        verb: str,
        question: Mapping[str, Any] | None = None,
        *,
        payload: bytes = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Any:
        """Run one of our programs there (`onhost`, `onhead`), in the environment of the host's Ray.

        Returns what it answers.

        Raises:
            Unreachable: SSH itself failed, or the program took longer than `timeout_s`.
            ClusterUnavailable: the program could not run, with what it said.
        """
        command, text = launch(program, verb, question or {})
        words, stdin = [*self.ssh_words(), in_login_shell(command, self.environment)], text + payload
        try:
            done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise Unreachable(self.address, f"no answer within {timeout_s:.0f} s") from None
        except FileNotFoundError:
            raise Unreachable(self.address, "there is no `ssh` on this machine") from None
        lines = (done.stderr + b"\n" + done.stdout).decode(errors="replace").split("\n")
        said = next(
            (line.strip() for line in reversed(lines) if line.strip()), f"exit code {done.returncode}"
        )
        if done.returncode == SSH_FAILED:
            raise Unreachable(self.address, said)
        for found in answers(self.address, done.stdout.splitlines()):
            return found
        raise ClusterUnavailable(f"{self.address}: cannot run Python there: {said}")

    def hand_over(self, command: str, *, terminal: bool, forward: int | None = None) -> int:
        """Run shell text with this process's own streams; returns its exit code.

        `terminal`: it gets one there, so that it ends with this process. `forward`: a port of the host's
        loopback that is reached under the same number on this machine's meanwhile.

        Raises:
            Unreachable: SSH itself failed; it has said why.
        """
        ssh, *rest = self.ssh_words(terminal=terminal)
        tunnel = [] if forward is None else ["-L", f"127.0.0.1:{forward}:127.0.0.1:{forward}"]
        words = [ssh, *tunnel, *rest, in_login_shell(command, self.environment)]
        code = subprocess.run(words, check=False).returncode
        if code == SSH_FAILED:
            raise Unreachable(self.address, "see above")
        return code

    def stream(self, program: str, verb: str, question: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """Start a program of ours that gives many answers: the caller reads its stdout, and ends it.

        It gets no Ctrl-C of the terminal: that one is for the caller.
        """
        command, text = launch(program, verb, question)
        process = subprocess.Popen(
            [*self.ssh_words(), in_login_shell(command, self.environment)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(text)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why on stderr
        return process


def launch(program: str, verb: str, question: Mapping[str, Any]) -> tuple[str, bytes]:
    """(shell text, bytes for its stdin) that run one of our programs on a host."""
    text = resources.files("orchestrator.remote").joinpath(f"{program}.py").read_bytes()
    python = '"$(command -v python3 || command -v python)"'
    asked = json.dumps(question).replace("'", "\\u0027")
    return f"exec {python} -c \"{_LAUNCH}\" {len(text)} {program} {verb} '{asked}'", text


def answers(address: str, lines: Iterable[bytes]) -> Iterator[Any]:
    """Yield the answers among the lines of an output; one that is an error is raised as
    `ClusterUnavailable`.
    """
    for line in lines:
        _, mark, rest = line.decode(errors="replace").partition(MARK)
        if mark:
            found = json.loads(rest)
            if "error" in found:
                raise ClusterUnavailable(f"{address}: {found['error']}")
            yield found["answer"]


def on_all(hosts: Sequence[Host], ask: Callable[[Host], T]) -> dict[str, T | ClusterUnavailable]:
    """Ask every host at the same time; a host that does not answer stands for its error."""

    def one(host: Host) -> T | ClusterUnavailable:
        try:
            return ask(host)
        except ClusterUnavailable as error:
            return error

    if not hosts:
        return {}
    with ThreadPoolExecutor(max_workers=min(32, len(hosts))) as pool:
        return dict(zip((host.address for host in hosts), pool.map(one, hosts), strict=True))
