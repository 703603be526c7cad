"""Results of tries as a table."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

KINDS = ("wrong", "lost", "hung", "left", "noise", "message")


def read_results(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the newest result of each try, by command, fault and seed."""
    found = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            found[result["command"], result["fault"], result["seed"]] = result
    return found


def print_table(path: Path) -> None:
    """Print tries and misses of each cell, then every miss with its seed."""
    results = read_results(path)
    commands = list(dict.fromkeys(key[0] for key in results))
    faults = list(dict.fromkeys(key[1] for key in results))
    print("| fault |", " | ".join(commands), "|")
    print("|---|", "---|" * len(commands), sep="")
    totals: dict[str, int] = defaultdict(int)
    for fault in faults:
        row = []
        for command in commands:
            cell = [r for key, r in results.items() if key[:2] == (command, fault)]
            missed = sum(any(r[kind] for kind in KINDS) for r in cell)
            row.append(f"{len(cell)}" if not missed else f"{len(cell)}, {missed} missed")
        print(f"| {fault} |", " | ".join(row), "|")
    for result in results.values():
        for kind in KINDS:
            totals[kind] += bool(result[kind])
    late = sum(not r["struck"] for r in results.values())
    versions = sorted({r["version"] for r in results.values()})
    print(f"\n{len(results)} tries ({late} ended before the fault), versions {versions};")
    print(", ".join(f"{kind} {totals[kind]}" for kind in KINDS))
    print(f"{sum(r['cpu'] for r in results.values()) / 60:.1f} CPU minutes of main processes")
    for (command, fault, seed), result in results.items():
        for kind in KINDS:
            if result[kind]:
                text = " ".join("; ".join(result[kind]).split())[:300]
                print(f"--command {command!r} --fault {fault} --seed {seed}: {kind}: {text}")
