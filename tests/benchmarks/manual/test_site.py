"""The site: its pages are those of the repository and what code says; links lead somewhere on both."""

from __future__ import annotations

import posixpath
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from fl_bench.benchmarks.commands.cli import app
from fl_bench.benchmarks.grid.grid import GridFile
from fl_bench.benchmarks.manual import generated
from fl_bench.benchmarks.manual.headings import headings
from fl_bench.benchmarks.manual.notebooks import page as page_of_notebook
from fl_bench.benchmarks.manual.site import GENERATED, NOTEBOOKS, PAPERS, adapted
from fl_bench.datasets.catalogue import DATASETS
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings
from fl_bench.federation.settings import Training
from fl_bench.methods.registry import METHODS

ROOT = Path(__file__).parents[3]
DOCS = {path.name: path for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = [*DOCS.values(), *(ROOT / file for file in PAPERS.values())]


def leaves(nav: Any) -> list[str]:
    """The pages of a `nav` of mkdocs."""
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in leaves(entry)]


def test_the_menu_leads_to_every_page_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(leaves(config["nav"])) == sorted([*DOCS, *PAPERS, *NOTEBOOKS, *GENERATED])
    assert sorted(NOTEBOOKS.values()) == sorted(
        path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "notebooks").iterdir()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_anchors_lead_to_a_heading(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", text):
        there = page if not target else page.parent / target
        known = {heading.anchor for heading in headings(there.read_text(encoding="utf-8"))}
        assert anchor in known, f"{page.name} links to {target}#{anchor}"


def test_pages_made_of_code_link_to_pages_that_are_there() -> None:
    for place, content in GENERATED.items():
        for target in re.findall(
            r"\]\(([^)#\s]+)(?:#[^)\s]+)?\)", re.sub(r"```.*?```|`[^`]*`", "", content(), flags=re.DOTALL)
        ):
            if not target.startswith("http"):
                assert posixpath.normpath(posixpath.join(posixpath.dirname(place), target)) in DOCS, (
                    f"{place}: {target}"
                )


def test_notebooks_become_pages_with_their_outputs() -> None:
    first, own = (adapted(page_of_notebook(ROOT / file), place) for place, file in NOTEBOOKS.items())
    assert first.startswith("# A first comparison { #a-first-comparison }\n")
    assert "](your-own-method.md)" in first
    assert "](../python.md)" in first
    assert "```python\nimport fl_bench as fb\n```" in first
    assert 'src="data:image/png;base64,iVBOR' in first
    assert "<td" in first
    assert "<style" not in first
    assert "```text\n(tensor([" in own


def test_links_lead_to_the_page_on_the_site() -> None:
    assert adapted("[a](people.md#b)\n", "datasets.md") == "[a](people.md#b)\n"
    assert adapted("[a](../SECURITY.md)\n", "people.md") == "[a](security.md)\n"
    assert adapted("[a](docs/people.md) ![b](docs/x.svg)\n", "index.md") == "[a](people.md) ![b](x.svg)\n"
    assert (
        adapted("[a](fl_bench/limits.py), [b](https://x.org/y.md)\n", "security.md") == "a, [b](https://x.org/y.md)\n"
    )
    assert adapted("[a](../statistics.md#b)\n", "reference/grid.md") == "[a](../statistics.md#b)\n"
    code = "```text\n[a](../SECURITY.md)\n```\n"
    assert adapted(code, "people.md") == code


def test_a_link_to_nothing_ends_the_build() -> None:
    with pytest.raises(ValueError, match=r"docs/people\.md links to \.\./NOTHING\.md, which is not there"):
        adapted("[a](../NOTHING.md)\n", "people.md")


def test_headings_have_the_anchors_of_the_repository() -> None:
    text = "# A page\n## What is `sent`?\n```\n# no heading\n```\n## What is sent\n"
    assert [heading.anchor for heading in headings(text)] == ["a-page", "what-is-sent", "what-is-sent-1"]
    assert adapted(text, "people.md") == (
        "# A page { #a-page }\n## What is `sent`? { #what-is-sent }\n"
        "```\n# no heading\n```\n## What is sent { #what-is-sent-1 }\n"
    )


def test_lists_are_indented_by_four_with_a_blank_line_before_them() -> None:
    text = "Words:\n- one,\n  goes on\n  - below\n    - deeper\n\n  a paragraph\n\nAfter.\n    code\n"
    assert adapted(text, "people.md") == (
        "Words:\n\n- one,\n    goes on\n    - below\n        - deeper\n\n    a paragraph\n\nAfter.\n    code\n"
    )
    assert adapted("1. one\n   goes on\n10. ten\n    too\n", "people.md") == "1. one\n    goes on\n10. ten\n    too\n"


def test_an_item_is_no_part_of_the_paragraph_before_it() -> None:
    text = "- one\n\n  a paragraph\n- two\n- three\n"
    assert adapted(text, "people.md") == "- one\n\n    a paragraph\n\n- two\n- three\n"


def test_code_in_a_list_keeps_its_own_indent() -> None:
    text = "- one\n\n  ```python\n  if x:\n    y\n  ```\n- two\n"
    assert adapted(text, "people.md") == "- one\n\n    ```python\n    if x:\n      y\n    ```\n\n- two\n"


def test_every_command_is_there_with_its_help() -> None:
    text = generated.commands()
    named = re.findall(r"^## `(.*)`$", text, re.MULTILINE)
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {name.removeprefix("fl-bench ") for name in named} == known | {"fl-bench", "new", "new method"}
    assert "--on-missing" in text
    assert text.count("Usage: fl-bench") == len(named)


def test_every_key_of_a_grid_has_a_meaning() -> None:
    text = generated.grid()
    for line in [line for line in text.splitlines() if line.startswith("| `")]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 4, line
        assert all(cells[:2]), line
        assert cells[3], f"no meaning: {line}"
    for kind in (GridFile, SplitSettings, Training):
        assert all(f"| `{field.name}` |" in text for field in fields(kind))
    assert "| `lr` | `float` | `0.001` | Learning rate of local training. |" in text
    assert "| `from` |" in text
    assert "| `label` | `str or null` | `null` |" in text  # as written, and not as resolved
    assert "| `models` | `Any` | `[mlp-64]` |" in text
    assert "| `poison` | `Poison` | see its section |" in text
    assert "## `comparison`" in text
    assert all(f"### `{name}`" in text for name in PARTITIONS.names())


def test_every_method_is_there_as_it_describes_itself() -> None:
    text = generated.methods()
    assert sorted(re.findall(r"^### `(.*)`$", text, re.MULTILINE)) == sorted(METHODS.names())
    assert "| `lam` | `float` | `1.0` | lambda, strength of the spring" in text
    assert "arXiv:2012.04221" in text


def test_every_data_set_is_there_with_the_licence_that_a_page_states() -> None:
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in generated.datasets().splitlines() if line.startswith("| `")]
    stated = {re.split(r"[:\[]", row[0].strip().strip("`"))[0]: row[-1].strip() for row in rows}
    assert sorted(stated) == sorted(DATASETS.names())
    assert "no commercial use" in stated["hapt"]
    assert stated["dna"] == stated["shuttle"] == "R package mlbench: GPL-2; UCI: CC BY 4.0"
    assert stated["digits"] == "scikit-learn: BSD; the data are UCI's: CC BY 4.0"
    assert stated["planted"] == "see its source"
    assert "image 1x8x8, 10 classes, 1198 training rows, 599 test rows" in generated.datasets()
    assert "| `csv:<file>?target=<column>` |" in generated.datasets()
