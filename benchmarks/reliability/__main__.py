"""`python -P -m fl_bench.benchmarks.reliability [FAMILY ...]`: inject faults, keep what was seen, write the page.

    --times N        inject each at most so often
    --minutes N      begin nothing new in a family after so many; 8 by default
    --only WORD      only faults whose name has the word; the rows of others stay
    --page           only docs/reliability.md again, from the stored results

Exit code 1 where a fault did harm.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import page, store
from .families import FAMILIES
from .fault import measure, titled
from .place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code."""
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--times", type=int, help="inject each fault at most so often")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin nothing new in a family after so many")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this word")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.families) - set(FAMILIES):
        parser.error(f"no family is named {', '.join(sorted(unknown))}; known: {', '.join(FAMILIES)}")
    rows: list[dict[str, Any]] = []
    if not asked.page:
        folder = Path(tempfile.mkdtemp(prefix="fl-bench-faults-"))
        place = Place(folder, asked.times)
        at = store.here()
        kept: list[tuple[str, dict[str, Any]]] = []
        try:
            for family in asked.families or FAMILIES:
                began, before = time.monotonic(), place.preparing
                faults = [fault for fault in FAMILIES[family] if asked.only in titled(fault)]
                for number, fault in enumerate(faults):
                    spent = time.monotonic() - began - (place.preparing - before)
                    place.limit = (60 * asked.minutes - spent) / (len(faults) - number)
                    rows.append(measure(fault, place))
                    print(f"{family}: {rows[-1]['fault']}: {told(rows[-1])}", flush=True)
                    kept.append((family, {**rows[-1], "at": at}))
        finally:  # not before: records say whether the tree has changes, and the next fault's would differ in that
            for family, row in kept:
                store.keep(family, [row])
        if any(row["result"] == "broken" for row in rows):
            print(f"what is broken can be looked at in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"written: {page.write()}")
    return int(any(row["result"] == "broken" for row in rows))


def told(row: dict[str, Any]) -> str:
    """A row in a line of the terminal."""
    if row["result"] != "as expected":
        return f"{row['result']}: {row['why']}"
    said = [f"{row['times']} times", f"exit codes {row['exits']}", f"{row['cells']} records equal", *row["notes"]]
    return f"as expected ({', '.join(said)}), {row['seconds']} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
