"""docs/reliability.md (benchmarks room): a pure function of the stored results and of the words in page.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.files import write_file

from .families import FAMILIES
from .fault import described, titled
from .store import RESULTS, stored

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCS = Path(__file__).resolve().parents[2] / "docs"
"""Where the page goes."""

INTRODUCTION = Path(__file__).with_name("page.md")
"""The words of the page that do not depend on results."""


def write(docs: Path = DOCS, results: Path = RESULTS) -> Path:
    """Write the page, and say where it is."""
    path = docs / "reliability.md"
    write_file(path, page(stored(results)))
    return path


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page for result files by family; a fault without a result is not run."""
    parts = [INTRODUCTION.read_text(encoding="utf-8").rstrip("\n"), _summary(results)]
    for family in FAMILIES:
        rows = _rows(results, family)
        parts += [f"## {family.capitalize()}", " ".join(dict.fromkeys(map(_provenance, rows.values()))) or "Not run."]
        for fault in FAMILIES[family]:
            injected, expected, recovery = described(fault)
            missing = {"fault": titled(fault), "result": "not run", "why": "there is no result of it yet"}
            said = {"injected": injected, "expected": expected, "recovery": recovery}
            parts.append(_entry({**said, **rows.get(titled(fault), missing)}))
    return "\n\n".join(parts) + "\n"


def _rows(results: Mapping[str, Mapping[str, Any]], family: str) -> dict[str, Mapping[str, Any]]:
    """The rows of a family's result file by fault; those of faults that there are no more are left out."""
    rows = {row["fault"]: row for row in results.get(family, {}).get("rows", ())}
    return {name: rows[name] for name in map(titled, FAMILIES[family]) if name in rows}


def _summary(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per fault, and their number."""
    every = [row for family in FAMILIES for row in _rows(results, family).values()]
    total, kills = (sum(row.get(name, 0) for row in every) for name in ("times", "kills"))
    lines = [f"In all, {total} faults were injected; {kills} of them are kills.", ""]
    lines += ["| fault | times | exit codes | records compared | result |", "|---|--:|---|--:|---|"]
    for family, faults in FAMILIES.items():
        rows = _rows(results, family)
        for name in map(titled, faults):
            row = rows.get(name, {"result": "not run"})
            exits = ", ".join(map(_exit, row.get("exits", ())))
            result = row["result"] if row["result"] == "as expected" else f"**{row['result']}**"
            lines.append(f"| {name} | {row.get('times', '')} | {exits} | {row.get('cells', '')} | {result} |")
    return "\n".join(lines)


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else str(code)


def _entry(row: Mapping[str, Any]) -> str:
    result = row["result"] if "why" not in row else f"**{row['result']}**: {row['why']}"
    seen = ""
    if "times" in row:
        exits = f"exit codes {', '.join(map(_exit, row['exits']))}" if row["exits"] else "no command was hit"
        seen = f" at {_revision(row['at'])}: {row['times']} times in {row['seconds']} s; {exits}; "
        seen += f"{row['cells']} records compared and equal"
    notes = "".join(f"; {note}" for note in row.get("notes", ()))
    return "\n".join(
        [
            f"**{row['fault'].capitalize()}.** {row['injected']}",
            "",
            f"- Expected: {row['expected']}",
            f"- Recovery: {row['recovery']}",
            f"- Result: {result}{seen}{notes}.",
        ]
    )


def _provenance(row: Mapping[str, Any]) -> str:
    at = row["at"]
    return (
        f"Measured {at['measured']}: {at['cpu']}, {at['cores']} cores, {at['memory_gib']} GiB, {at['system']}; "
        f"Python {at['python']}, torch {at['packages']['torch']}."
    )


def _revision(at: Mapping[str, Any]) -> str:
    return f"{(at['revision'] or 'an unknown revision')[:10]}{' with uncommitted changes' if at['dirty'] else ''}"
