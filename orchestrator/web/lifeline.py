"""Runs a command for as long as somebody holds the other end of stdin, whatever becomes of that process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

GRACE_S = 5.0


def main(words: list[str]) -> None:
    """Run the command; end it when stdin does, and end with it."""
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(child.wait()), daemon=True).start()
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
