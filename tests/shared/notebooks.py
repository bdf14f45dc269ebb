"""Runs notebooks as Jupyter does: in `__main__`, which is no file, with cells whose text only linecache knows."""

from __future__ import annotations

import ast
import json
import linecache
import sys
from pathlib import Path
from types import ModuleType


def run(path: Path) -> None:
    """Run all cells in order; what a cell ends with is shown by its rich form, as a notebook would."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        text, name = "".join(cell["source"]), f"<cell {number}>"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        tree = ast.parse(text, name)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), vars(main))
        if last is not None:
            show(eval(compile(ast.Expression(last.value), name, "eval"), vars(main)))


def show(value: object) -> None:
    """The richest form of a value, by its kind and size."""
    for form in ("_repr_png_", "_repr_html_"):
        shown = getattr(value, form, None)
        if shown is not None:
            content = shown()
            print(form, len(content[0] if isinstance(content, tuple) else content))
            return
    print(repr(value))


if __name__ == "__main__":
    for file in sys.argv[1:]:
        run(Path(file))
