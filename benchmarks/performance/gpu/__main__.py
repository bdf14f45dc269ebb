"""`python -P -m fl_bench.benchmarks.performance.gpu [PART ...]`: measure parts on a card, each into a file of its own.

--list            what there is, predicted minutes, and which files are there
--minutes 8       run parts in order as long as their predictions fit; those that have a file are not run again
--device cuda     or cpu, where everything is checked but nothing of a card
--size tiny       in seconds
--out build/gpu   where files go
--table           what was measured beside the floors, as Markdown

A part that fails has a file, too, with the reason. It runs again where it is named.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import traceback
from pathlib import Path

from ...running.provenance import provenance
from ..store import rounded
from .parts import Part, parts
from .results import read, state
from .table import tables


def main() -> int:
    """Run parts, list them, or print the tables; 1 where a part failed."""
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
    missing = [part for part in known.values() if read(asked.out, part.name) is None]
    if asked.list:
        for part in known.values():
            print(f"{part.name:36} {state(asked.out, part.name) or f'about {part.minutes:g} min'}")
        print(f"{len(missing)} of {len(known)} parts are left, about {sum(part.minutes for part in missing):g} min")
        return 0
    if asked.table:
        print(tables(asked.out, asked.size))
        return 0
    chosen = [known[name] for name in asked.parts] or _fitting(missing, asked.minutes)
    return max([_measure(part, asked.device, asked.size, asked.out) for part in chosen], default=0)


def _fitting(missing: list[Part], minutes: float) -> list[Part]:
    """The first parts whose predicted minutes fit, at least one."""
    chosen: list[Part] = []
    for part in missing:
        if chosen and sum(one.minutes for one in (*chosen, part)) > minutes:
            break
        chosen.append(part)
    return chosen


def _measure(part: Part, device: str, size: str, out: Path) -> int:
    """Run a part, write its file, and say 1 if it failed."""
    content = {"part": part.name, "size": size, "machine": provenance(device), "predicted_minutes": part.minutes}
    began = time.perf_counter()
    try:
        content["rows"] = rounded(part.run(device, size == "tiny"))
    except Exception:
        content["error"] = traceback.format_exc()
    gc.collect()  # what a part held of a card is for the next one
    content["minutes"] = rounded((time.perf_counter() - began) / 60)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{part.name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"{part.name}: {state(out, part.name)}, {out / part.name}.json", flush=True)
    return int("error" in content)


if __name__ == "__main__":
    raise SystemExit(main())
