"""`python -P -m fl_bench.benchmarks.performance.gpu [PART ...]`: measure parts on a card, each into a file of its own.

--list            what there is, predicted minutes, and which files are there
--minutes 8       run parts in order as long as their predictions fit; those that have a file are not run again
--device cuda     or cpu, where everything is checked but nothing of a card
--size tiny       in seconds
--out build/gpu   where files go
--table           the floors beside what was measured, as Markdown
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...running.provenance import provenance
from ..store import rounded
from .parts import parts
from .table import table


def main() -> None:
    """Run parts, list them, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = parts()
    parser.add_argument("parts", nargs="*", metavar="PART", help="parts to run, again if they have a file")
    parser.add_argument("--list", action="store_true", help="list the parts")
    parser.add_argument("--table", action="store_true", help="print floors and measurements")
    parser.add_argument("--minutes", type=float, default=8.0, help="of predicted time, where no part is named")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"))
    asked = parser.parse_args()
    if unknown := [name for name in asked.parts if name not in known]:
        parser.error(f"no part is named {unknown[0]!r}; --list shows all")
    if asked.list:
        for part in known.values():
            state = "done" if (asked.out / f"{part.name}.json").exists() else f"about {part.minutes:g} min"
            print(f"{part.name:32} {state}")
        return
    if asked.table:
        print(table(asked.out))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    left = asked.minutes
    for name in asked.parts or [name for name in known if not (asked.out / f"{name}.json").exists()]:
        if not asked.parts and known[name].minutes > left:
            break
        left -= known[name].minutes
        rows = known[name].run(asked.device, asked.size == "tiny")
        content = {"part": name, "size": asked.size, "machine": provenance(asked.device), "rows": rounded(rows)}
        (asked.out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(f"{name}: {asked.out / name}.json", flush=True)


if __name__ == "__main__":
    main()
