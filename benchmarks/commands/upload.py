"""The command `fl-bench upload` (benchmarks room): results for everybody, in a dataset repository of the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fl_bench.files import write_file

from ..tables.terminal import say
from .asking import ask
from .filters import Filters, OnlyDatasets, OnlyMethods, OnlySettings
from .options import AsJson  # noqa: TC001 - typer reads annotations when it runs

SHOWN = 30
"""Files that are named one by one before they go."""


def upload(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of records, or a bundle.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Dataset repository.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Also upload saved models.")] = False,
    methods: OnlyMethods = None,
    datasets: OnlyDatasets = None,
    settings: OnlySettings = None,
    with_figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Include figures in the report.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files; upload nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload results to the Hugging Face Hub.

    Lists the files and asks for confirmation. Uploads the records as a bundle, leaderboards, the report, the tuning
    ledger, the declaration of the comparison, and a card generated from the report, to a dataset repository. Records
    contain the processor, system and package versions of their runs. The token is $HF_TOKEN, or the one that
    `hf auth login` stored.

    \b
    fl-bench upload results/cosmos-server me/cosmos-server --dry-run
    fl-bench upload fl-bench-results me/my-results --private
    """
    from ..export.hub import card, check_repository, library, send, stage
    from ..records.bundle import BESIDE
    from ..records.declarations import as_text, read_declarations
    from ..records.shared_rows import text_of
    from ..records.store import Store
    from ..statistics.verdicts import many
    from ..tables.printing import print_json
    from ..tables.values import show_bytes
    from ..tuning.ledger import NAME, read_ledger
    from .progress import saying
    from .publish import page_of
    from .question import Question

    check_repository(repository)
    hub = None if dry_run else library()  # before minutes of drawing
    page = page_of(results, Filters(methods, datasets, settings), Question(), with_figures=with_figures)
    store = Store(results)
    declared, ledger = read_declarations(store), store.results / NAME
    beside = {
        **text_of([store.results]),
        **({NAME: read_ledger(ledger)[1]} if ledger.exists() else {}),
        **({BESIDE: as_text(declared)} if declared else {}),
    }
    findings = page.comparison.summary if page.comparison is not None else [f"No comparison: {page.obstacle}"]
    with tempfile.TemporaryDirectory(prefix="fl-bench-upload-") as place:
        folder = Path(place)
        with saying("packing what goes"):
            sizes = stage(folder, page.records, page.text, beside, models=models)
        text = card(repository, page.about.title, page.about.question, findings, list(sizes))
        write_file(folder / "README.md", text)
        sizes = {"README.md": len(text.encode()), **sizes}
        for name, size in [*sizes.items()][:SHOWN]:
            say(f"  {name}: {show_bytes(size)}")
        if len(sizes) > SHOWN:
            say(f"  and {many(len(sizes) - SHOWN, 'more file')}")
        whole = f"{many(len(sizes), 'file')} ({show_bytes(sum(sizes.values()))}) of {many(len(page.records), 'run')}"
        address = None
        if hub is None:
            say(f"would send {whole} to the dataset {repository}")
        else:
            ask(
                f"Send {whole} to the {'private' if private else 'public'} dataset {repository}?",
                "nothing was sent",
                nobody="nobody can be asked whether this may go; --yes says that it may, --dry-run what goes",
                yes=yes,
            )
            with saying(f"sending {whole}"):
                message = f"fl-bench: {many(len(page.records), 'run')}"
                address = send(hub, folder, repository, private=private, message=message)
            say(f"sent {whole} to {address}")
    if as_json:
        print_json({"repository": repository, "sent": address is not None, "address": address, "files": sizes})
    raise typer.Exit(page.code)
