"""Process 1 of a host of the lab: builds the host's own view of the file system, keeps sshd, reaps orphans.

Standard library only; started by `lab.py` inside fresh namespaces with one argument, the host as JSON: name,
`cpus`, `home` and `disk` (the home directory and where it is kept), `shared` (the directory behind SHARED),
`keep` (directories to see read-only), `hosts` (text of /etc/hosts), `keys` (directory of the SSH keys).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

SHARED = "/srv/shared"
STAGE = Path("/mnt")
SSHD_CONFIG = """\
Port 22
ListenAddress 0.0.0.0
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PermitRootLogin yes
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
Subsystem sftp internal-sftp
"""


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def build_file_system(host: dict[str, Any]) -> None:
    """Private /tmp, /run, /dev/shm, home; the shared directory; what has to be seen, read-only."""
    mount("-t", "tmpfs", "stage", str(STAGE))
    staged = {path: STAGE / str(number) for number, path in enumerate(host["keep"])}
    staged |= {SHARED: STAGE / "shared", host["home"]: STAGE / "home", "/keys": STAGE / "keys"}
    sources = {SHARED: host["shared"], host["home"]: host["disk"], "/keys": host["keys"]}
    for path, stage in staged.items():
        stage.mkdir()
        mount("--bind", sources.get(path, path), str(stage))
    for path in ("/tmp", "/run", "/dev/shm", "/srv"):
        mount("-t", "tmpfs", "-o", "mode=1777", "private", path)
    mount("--bind", str(staged[host["home"]]), host["home"])
    for path in (*host["keep"], SHARED, "/run/keys"):
        Path(path).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(staged.get(path, STAGE / "keys")), path)
        if path in host["keep"]:
            mount("-o", "remount,bind,ro", path)
    subprocess.run(["umount", "-l", str(STAGE)], check=True)
    claim_cpus(host["cpus"])
    replace(Path("/etc/hosts"), host["hosts"])
    replace(Path("/etc/resolv.conf"), "")  # no name server: who asks for another name is refused at once


def replace(file: Path, text: str) -> None:
    """Let a file of the machine read differently on this host."""
    seen = file.resolve()  # a link into /run, for instance, which is empty by now
    seen.parent.mkdir(parents=True, exist_ok=True)
    if not seen.exists():
        seen.write_text(text)
        return
    own = Path("/run") / file.name
    own.write_text(text)
    mount("--bind", str(own), str(seen))


def claim_cpus(cpus: int) -> None:
    """What programs read that ask for a container's CPU limit: in the old place, which they try first."""
    control_groups = Path("/sys/fs/cgroup")
    mount("-t", "tmpfs", "control-groups", str(control_groups))
    folder = control_groups / "cpu"
    folder.mkdir()
    period_us = 100_000
    (folder / "cpu.cfs_period_us").write_text(f"{period_us}\n")
    (folder / "cpu.cfs_quota_us").write_text(f"{cpus * period_us}\n")


def start_sshd() -> None:
    Path("/run/sshd").mkdir(mode=0o755)
    config = Path("/run/sshd_config")
    config.write_text(SSHD_CONFIG.format(keys="/run/keys"))
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin") or "sshd"
    subprocess.Popen([program, "-D", "-f", str(config), "-E", "/run/sshd.log"], stdout=subprocess.DEVNULL)


def wait_for_sshd() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 22)) == 0:
                return


def main() -> None:
    host = json.loads(sys.argv[1])
    socket.sethostname(host["name"])
    build_file_system(host)
    start_sshd()
    wait_for_sshd()
    sys.stdout.write("up\n")
    sys.stdout.flush()
    while True:
        os.wait()


if __name__ == "__main__":
    main()
