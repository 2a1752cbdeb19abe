"""Ask the gates of all example studies, and put what they answer into the table of docs/check.md.

python docs/check.py            asks all of them (minutes), writes docs/check.json and the table
python docs/check.py digits     asks one again

cifar-small is asked on the stand-in that tests/trials/cifarlike.py draws: CIFAR is not in this repository.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_suffix(".md")
ROWS = Path(__file__).with_suffix(".json")
STUDIES = ("digits", "charlm", "segment", "cifar-small", "generator", "lightning", "tabular", "plain-ray")
HEAD = ["study", "passed", "failed", "skipped", "seconds"]
BLOCK = re.compile(r"(<!-- examples -->\n).*?(<!-- end -->)", re.DOTALL)
COMMAND = "import sys; from orchestrator.cli.app import main; sys.exit(main())"


def ask(study: str, folder: Path) -> dict[str, Any]:
    """The row of a study: what `orchestrate check --json` says of it; its page goes to `folder`."""
    words = ["check", "--config", f"configs/{study}.yaml", "--out", str(folder), "--json"]
    if study == "cifar-small":
        archive = folder / "stand-in.tar.gz"
        subprocess.run([sys.executable, "tests/trials/cifarlike.py", str(archive)], cwd=ROOT, check=True)
        words.append(f"baseline.data.path={archive}")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    said = json.loads(done.stdout)
    gates = [(gate["gate"], gate["verdict"]) for gate in said["gates"]]
    return {
        "study": study,
        "passed": sum(verdict["state"] == "pass" for _, verdict in gates),
        "failed": [gate for gate, verdict in gates if verdict["state"] == "fail"],
        "skipped": {gate: verdict["evidence"] for gate, verdict in gates if verdict["state"] == "skipped"},
        "wall_s": round(said["wall_s"], 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown; a reason stands once for all the gates that were skipped for it."""
    lines = [HEAD, ["---", "---:", "---", "---", "---:"]]
    for row in rows:
        reasons = Counter(row["skipped"].values())
        skipped = []
        for reason, times in reasons.items():
            gates = [gate for gate, why in row["skipped"].items() if why == reason]
            skipped.append(f"{', '.join(gates) if times < 4 else f'{times} gates'}: {reason}")
        failed = ", ".join(row["failed"]) or "–"
        lines.append(
            [row["study"], str(row["passed"]), failed, "; ".join(skipped) or "–", f"{row['wall_s']:.0f}"]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(studies: list[str]) -> None:
    """Ask these studies, keep the rows of the others."""
    known = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    rows = {row["study"]: row for row in known}
    with tempfile.TemporaryDirectory() as folder:
        for study in studies or STUDIES:
            rows[study] = ask(study, Path(folder))
            ordered = [rows[name] for name in STUDIES if name in rows]
            ROWS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            drawn = table(ordered)
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(BLOCK.sub(lambda b, new=drawn: f"{b[1]}{new}{b[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
