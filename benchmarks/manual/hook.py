"""What mkdocs calls to build the site (mkdocs.yml): adds the pages that are not in `docs/`, adapts all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mkdocs.structure.files import File

from fl_bench.benchmarks.manual import notebooks
from fl_bench.benchmarks.manual.reading import ROOT
from fl_bench.benchmarks.manual.site import GENERATED, NOTEBOOKS, PAPERS, adapted

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the papers of the repository, the notebooks and what is made of code."""
    for place, file in PAPERS.items():
        files.append(File.generated(config, place, content=(ROOT / file).read_text(encoding="utf-8")))
    for place, file in NOTEBOOKS.items():
        files.append(File.generated(config, place, content=notebooks.page(ROOT / file)))
    for place, content in GENERATED.items():
        files.append(File.generated(config, place, content=content()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Each page as Python-Markdown needs it."""
    return adapted(markdown, page.file.src_uri)
