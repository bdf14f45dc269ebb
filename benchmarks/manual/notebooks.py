"""Makes pages of the site of notebooks: their text, their code, and the outputs that are stored in them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def page(path: Path) -> str:
    """A notebook as Markdown."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell(cell)) + "\n"


def _cell(cell: dict[str, Any]) -> list[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [text]
    return [f"```python\n{text}\n```", *(_output(output["data"]) for output in cell["outputs"] if "data" in output)]


def _output(data: dict[str, Any]) -> str:
    """What a cell gave, in the richest form that a page shows."""
    if "image/png" in data:
        # A figure for a column of a paper has three times the dots of a screen.
        return f'<p><img alt="the figure" width="336" src="data:image/png;base64,{data["image/png"].strip()}"></p>'
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return f'<div class="output">{" ".join(html.split())}</div>'
    return f"```text\n{''.join(data['text/plain'])}\n```"
