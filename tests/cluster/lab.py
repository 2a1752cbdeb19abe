"""Several hosts on one machine: a lab for `ray up` and for faults, made of Linux namespaces.

A host has network, mount, host-name, IPC and process namespaces of its own: its own /tmp, /run, /dev/shm,
/etc/hosts and home directory (kept over a reboot), an sshd, a wire to a switch, and one CPU as far as Ray can
tell. All hosts see one shared directory (SHARED, the stand-in for NFS), and read-only the interpreter and the
project. `laptop` is for the user; `head`, `worker1`, `worker2`, ... are the cluster.

    with Lab(tmp_path) as lab:             # needs root, iproute2, openssh-server, rsync: see `missing`
        lab.boot("laptop", "head", "worker1", "worker2")
        file = lab.cluster_file("head", ["worker1", "worker2"])   # cluster.yaml with the lab's addresses
        laptop = lab["laptop"]
        laptop.run(f"ray up -y {file}")             # RAY_AUTH_MODE=token is set for every command
        laptop.ssh("head", "ray status")            # as the user would
        lab["worker1"].crash()                      # peers get a reset
        lab["worker1"].revive()                     # a reboot: same home, empty /tmp
        lab["worker2"].power_off()                  # peers hear nothing
        lab["head"].cut(); lab["head"].mend()       # the wire, at the switch's end

On every host `ray`, `orchestrate` and `python` are on the path of `run` (`ssh` gives what a login has). They
come from a virtual environment in the host's home that borrows the packages of the interpreter that runs the
tests, so the set-up steps of cluster.yaml find their work done, as they do on a machine where they have run
before. The nodes import the project from what `ray up` has copied to them.

Everything lives below one process that ends when this one does, however it ends: nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import yaml

PROJECT = Path(__file__).parents[2]
PID1 = Path(__file__).with_name("pid1.py")
SHARED = Path("/srv/shared")
ENVIRONMENT = "orchestrator-env"  # the virtual environment that cluster.yaml makes in the home directory
ADDRESSES = {"laptop": "10.77.0.2", "head": "10.77.0.10"} | {
    f"worker{number}": f"10.77.0.{10 + number}" for number in range(1, 9)
}
GATEWAY = "10.77.0.1"
TOOLS = {"ip": "iproute2", "unshare": "util-linux", "nsenter": "util-linux", "sshd": "openssh-server"} | {
    "ssh": "openssh-client", "rsync": "rsync",
}  # fmt: skip
COMMAND_LIMIT_S = 300.0
NAMESPACES = ("--net", "--mount", "--uts", "--ipc", "--pid")


def missing() -> str | None:
    """Why there can be no lab here; None when there can be one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the lab needs Linux and root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = sorted({package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None})
    if packages:
        return f"the lab needs {', '.join(packages)} (make lab installs what it may)"
    made = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True)
    return None if made.returncode == 0 else f"this machine allows no namespaces: {made.stderr.strip()}"


class CommandFailed(AssertionError):
    """A command on a host failed, or took too long; the message has its output."""


@dataclass
class Host:
    """One machine of the lab. Made by `Lab.boot`."""

    lab: Lab
    name: str
    address: str
    cpus: int
    pid: int | None = None  # of its process 1, as seen from here
    _outer: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        """The home directory, as it is kept outside."""
        return self.lab.root / "homes" / self.name

    @property
    def wire(self) -> str:
        """The switch's end of the wire to this host."""
        return f"to-{self.name}"

    # ---- commands ----------------------------------------------------------------------------------------

    def run(self, command: str, *, limit_s: float = COMMAND_LIMIT_S, **variables: str) -> str:
        """Run a shell command as on the host's console; its stdout. Raises CommandFailed."""
        done = self.attempt(command, limit_s=limit_s, **variables)
        if done.returncode != 0:
            raise CommandFailed(
                f"{self.name}: {command}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def attempt(
        self, command: str, *, limit_s: float = COMMAND_LIMIT_S, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Like `run`, for commands that may fail."""
        try:
            return subprocess.run(
                self.words(command, **variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired as late:
            raise CommandFailed(
                f"{self.name}: {command}\nstill running after {limit_s:g} s\n"
                f"{_text(late.stdout)}\n{_text(late.stderr)}"
            ) from None

    def start(self, command: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        """Run a command in the background, with its output in `log`. Ends with the host or with `Lab`."""
        with log.open("wb") as out:
            return subprocess.Popen(
                self.words(command, **variables), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def words(self, command: str, **variables: str) -> list[str]:
        """The command line that runs a shell command on this host."""
        assert self.pid is not None, f"{self.name} is down"
        home = str(Path.home())
        environment = {
            "HOME": home,
            "PATH": f"{home}/{ENVIRONMENT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "USER": "root",
            "TERM": "dumb",
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            **variables,
        }
        assigned = [f"{key}={value}" for key, value in environment.items()]
        inside = f"cd; {command}"
        # who runs these tests in the background ignores SIGINT, and a child would inherit that
        clean = ["env", "-i", "--default-signal=INT"]
        return [*_enter(self.pid), *clean, *assigned, "bash", "-c", inside]

    def ssh(self, other: str, command: str, *, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run a command on another host through its sshd."""
        quoted = command.replace("'", "'\\''")
        return self.run(
            f"ssh -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=5 -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null -i ~/.ssh/id_ed25519 root@{other} '{quoted}'",
            limit_s=limit_s,
        )

    def processes(self, pattern: str = "") -> dict[int, str]:
        """Command lines by process id (as seen on the host), where they contain `pattern`."""
        lines = self.run("ps -eo pid=,args= -ww").splitlines()
        found = {int(pid): args for pid, _, args in (line.strip().partition(" ") for line in lines)}
        return {pid: args for pid, args in found.items() if pattern in args and "ps -eo" not in args}

    # ---- power and wires ---------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch on; returns when sshd answers on the wire."""
        description = {
            "name": self.name,
            "cpus": self.cpus,
            "home": str(Path.home()),
            "disk": str(self.home),
            "shared": str(self.lab.shared),
            "keep": self.lab.keep,
            "hosts": self.lab.hosts_text(),
            "keys": str(self.lab.keys),
        }
        log = (self.lab.root / f"{self.name}.log").open("ab")
        self._outer = subprocess.Popen(
            [
                *_enter(self.lab.pid, "--mount", "--pid", "--ipc"),
                *("unshare", *NAMESPACES, "--fork", "--mount-proc", "--kill-child=SIGKILL"),
                *(sys.executable, "-I", str(PID1), json.dumps(description)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        if _first_word(self._outer) != "up":
            said = (self.lab.root / f"{self.name}.log").read_text()
            raise CommandFailed(f"the host {self.name} did not come up:\n{said}")
        self.pid = _process_1(self._outer.pid)
        self._plug_in()

    def _plug_in(self) -> None:
        switch, pid = self.lab.switch, str(self.pid)
        switch("link", "del", self.wire, check=False)  # of the last boot, if it is still there
        # its card is the same after every boot, as peers remember it for half a minute
        card = "02:00:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))
        peer = ("peer", "name", "eth0", "address", card, "netns", pid)
        switch("link", "add", self.wire, "type", "veth", *peer)
        switch("link", "set", self.wire, "master", "switch", "up")
        for words in (
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", GATEWAY),
        ):
            subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *words], check=True)

    def crash(self) -> None:
        """The operating system dies with the wire plugged in: peers get a reset."""
        assert self.pid is not None
        assert self._outer is not None
        os.kill(self.pid, signal.SIGKILL)
        self._outer.wait()
        self.pid = None  # the wire goes with the namespace, a moment later

    def power_off(self) -> None:
        """Pull the plug: peers hear nothing."""
        self.cut()
        self.crash()

    def revive(self) -> None:
        """Boot again after a crash or a power-off: same home, empty /tmp."""
        assert self.pid is None, f"{self.name} is up"
        self.boot()

    def cut(self) -> None:
        """Cut the wire at the switch's end; both sides send into the void."""
        self.lab.switch("link", "set", self.wire, "down")

    def mend(self) -> None:
        """Join the wire again."""
        self.lab.switch("link", "set", self.wire, "up")


class Lab:
    """See the module's text. A context manager.

    Args:
        root: an empty directory for homes, keys and the shared directory.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.shared, self.keys = root, root / "shared", root / "keys"
        self.hosts: dict[str, Host] = {}
        self.keep = _what_hosts_must_see()

    def __enter__(self) -> Lab:
        for folder in (self.shared, self.keys, self.root / "homes"):
            folder.mkdir(parents=True)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.keys / name)], check=True
            )
        # Its process 1 reads until this process ends; the kernel then ends everything below it.
        self._outer = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--ipc", "--pid", "--fork", "--mount-proc"),
                *("--kill-child=SIGKILL", "sh", "-c", "echo up; read _"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert _first_word(self._outer) == "up", "unshare failed; see stderr"
        self.pid = _process_1(self._outer.pid)
        self.switch("link", "add", "switch", "type", "bridge")
        self.switch("addr", "add", f"{GATEWAY}/24", "dev", "switch")
        self.switch("link", "set", "switch", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._outer.stdin is not None
        self._outer.stdin.close()
        self._outer.wait()
        for host in self.hosts.values():
            if host._outer is not None:
                host._outer.wait()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def boot(self, *names: str, cpus: int = 1) -> None:
        """Switch hosts on; their homes are made the first time."""
        for name in names:
            self.hosts[name] = host = Host(self, name, ADDRESSES[name], cpus)
            self._furnish(host)
            host.boot()

    def switch(self, *words: str, check: bool = True) -> bool:
        """`ip *words` at the switch; whether it could be done. Raises CommandFailed, if asked to check."""
        command = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.returncode == 0

    def hosts_text(self) -> str:
        """What /etc/hosts says on every host."""
        lines = [f"{address} {name}" for name, address in ADDRESSES.items()]
        return "\n".join(["127.0.0.1 localhost", *lines, ""])

    def cluster_file(
        self,
        head: str,
        workers: list[str],
        source: Path = PROJECT / "cluster.yaml",
        head_environment: Mapping[str, object] | None = None,
    ) -> Path:
        """`source` with the lab's addresses, user and key, in the laptop's home; its path on the laptop.

        Relative paths in `source` are relative to its directory, and are made absolute. `head_environment` is
        set for Ray on the head; where it is None nothing else is changed.
        """
        config = yaml.safe_load(source.read_text())
        config["provider"]["head_ip"] = ADDRESSES[head]
        config["provider"]["worker_ips"] = [ADDRESSES[worker] for worker in workers]
        config["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"}
        mounts = config["file_mounts"].items()
        config["file_mounts"] = {there: _absolute(here, source.parent) for there, here in mounts}
        if head_environment:
            settings = " ".join(f"{key}={value}" for key, value in head_environment.items())
            start = config["head_start_ray_commands"]
            start[-1] = f"export {settings}; {start[-1]}"
        (self["laptop"].home / "cluster.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return Path.home() / "cluster.yaml"

    def _furnish(self, host: Host) -> None:
        """A home with keys, and the virtual environment that the set-up of cluster.yaml would make."""
        if host.home.exists():
            return
        host.home.mkdir(parents=True)
        keys = host.home / ".ssh"
        keys.mkdir(mode=0o700)
        if host.name == "laptop":
            shutil.copy(self.keys / "user", keys / "id_ed25519")
        code = PROJECT if host.name == "laptop" else Path.home() / "orchestrator"
        _virtual_environment(host.home / ENVIRONMENT, Path.home() / ENVIRONMENT, code)


def _virtual_environment(where: Path, seen_as: Path, code: Path) -> None:
    """A virtual environment that borrows the packages of this interpreter, with the project from `code`."""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (where / "bin").mkdir(parents=True)
    for name in ("python", "python3", base.name):
        (where / "bin" / name).symlink_to(base)
    (where / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\n"
    )
    packages = where / "lib" / base.name / "site-packages"
    packages.mkdir(parents=True)
    (packages / "lab.pth").write_text(f"{code}\n{sysconfig.get_path('purelib')}\n")
    for name, module in {"ray": "ray.scripts.scripts", "orchestrate": "orchestrator.cli.app"}.items():
        script = where / "bin" / name
        script.write_text(
            f"#!{seen_as}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    (where / "bin" / "activate").write_text(f'export PATH="{seen_as}/bin:$PATH" VIRTUAL_ENV="{seen_as}"\n')
    wanted = [(PROJECT / name).read_text() for name in ("pyproject.toml", "constraints.txt")]
    (where / "installed").write_text("".join(wanted))


def _what_hosts_must_see() -> list[str]:
    """Interpreter, packages and project, outermost directories only."""
    paths = sorted({str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, PROJECT)})
    return [path for path in paths if not any(path.startswith(f"{other}/") for other in paths)]


def _absolute(path: str, folder: Path) -> str:
    return path if path.startswith(("~", "/")) else str((folder / path).resolve())


def _first_word(process: subprocess.Popen[str]) -> str:
    """The first line that a process writes."""
    assert process.stdout is not None
    with process.stdout as stream:
        return stream.readline().strip()


def _enter(pid: int, *namespaces: str) -> list[str]:
    return ["nsenter", "--target", str(pid), *(namespaces or NAMESPACES)]


def _process_1(pid: int) -> int:
    """The process below `pid` that is number 1 in a process namespace of its own."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        if numbers[-1] == "1" and len(numbers) > 2:
            return pid
        [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pid = int(child)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
