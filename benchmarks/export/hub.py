"""A results folder for the Hugging Face Hub (benchmarks room): the files of a dataset repository, its card, sending.

What goes is written into a folder first, so that it can be named before anything is sent. The token is the library's:
`HF_TOKEN`, or what `hf auth login` keeps.
"""

from __future__ import annotations

import re
import shutil
from html import escape
from typing import TYPE_CHECKING, Any

import yaml

from fl_bench.errors import ConfigError, one_line
from fl_bench.files import write_file

from ..leaderboard.files import files as leaderboards
from ..records.bundle import BESIDE, NAME, write_bundle
from ..records.models import MODELS, models_of, read_models
from ..records.texts import FILES
from ..running.executor import package_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from ..records.record import Record

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""Owner and name of a repository."""

CONTENTS = {
    NAME: "all records in one file, which every command of fl-bench reads",
    "leaderboards/": "a table per data set, and one over all of them",
    "index.html": "the report: one page that needs no network",
    "tuning.json": "the ledger of the tuning that chose the settings",
    BESIDE: "what was declared of the comparison before it was run",
    "overlaps.csv": "rows that its data sets were found to share",
    "runs/": "the records of runs that kept models, with the models",
}
"""What a repository may hold, in the words of its card."""


def check_repository(name: str) -> None:
    """Refuse what names no repository.

    Raises:
        ConfigError: says what does.
    """
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise ConfigError(f"a repository is OWNER/NAME, letters, digits, `-`, `_` and `.`; got {name!r:.200}")


def stage(
    folder: Path,
    records: Sequence[Record],
    page: str,
    beside: Mapping[str, str],
    *,
    models: bool = False,
) -> dict[str, int]:
    """Write what goes into an empty folder, without its card.

    Args:
        folder: the folder.
        records: those that go.
        page: the report.
        beside: the texts of other files of the results folder, by name.
        models: whether models go, each with the files of its record.
    Returns:
        The bytes of each file.

    Raises:
        DataError: a record or a file of models cannot be read.
        StorageError: the disk does not take it.
    """
    texts = {record.name: dict(record.texts()) for record in records}
    write_bundle(folder / NAME, texts, beside.get(BESIDE))
    written = {f"leaderboards/{name}": text for name, text in leaderboards(records).items()}
    for name, text in {**written, "index.html": page, **beside}.items():
        write_file(folder / name, text)
    for record in records if models else ():
        path = models_of(record)
        if path is not None:
            read_models(path).check()
            for name in FILES:
                write_file(folder / "runs" / record.name / name, texts[record.name][name])
            shutil.copyfile(path, folder / "runs" / record.name / MODELS)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def card(repository: str, title: str, question: str, findings: Sequence[str], names: Sequence[str]) -> str:
    """The dataset card, README.md.

    Args:
        repository: where it goes.
        title: of the report.
        question: what the comparison was run to answer; may be empty.
        findings: sentences of the report.
        names: the files that go.
    """
    about = {
        "pretty_name": one_line(title),
        "tags": ["federated-learning", "benchmark", "fl-bench"],
        "configs": [{"config_name": "overall", "data_files": "leaderboards/overall.csv"}],
    }
    there = {name: words for name, words in CONTENTS.items() if any(one.startswith(name) for one in names)}
    lines = [
        "---",
        yaml.safe_dump(about, sort_keys=False).strip(),
        "---",
        "",
        f"# {_said(title)}",
        *(["", _said(question)] if question else []),
        "",
        *(f"- {_said(sentence)}" for sentence in findings),
        "",
        "## Files",
        "",
        *(f"- `{name}`: {words}" for name, words in there.items()),
        "",
        "## Read them",
        "",
        "```python",
        "import fl_bench as fb",
        "from huggingface_hub import snapshot_download",
        "",
        f'results = fb.load(snapshot_download("{repository}", repo_type="dataset"))',
        "results.leaderboard()",
        "```",
    ]
    return "\n".join(lines) + "\n"


def library() -> ModuleType:
    """The package that sends.

    Raises:
        ConfigError: it is not installed, or nobody is logged in.
    """
    hub = package_of("hub", "huggingface_hub", asked="upload")
    if hub.get_token() is None:
        raise ConfigError("nobody is logged in to the Hub: set HF_TOKEN to a token that may write, or `hf auth login`")
    return hub


def send(hub: ModuleType, folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Make the repository where there is none, and send a folder as one commit.

    Leaderboards and a page that are there already are replaced. Other files stay.

    Args:
        hub: the package.
        folder: what goes.
        repository: `OWNER/NAME`.
        private: whether nobody else may see the repository.
        message: of the commit.
    Returns:
        The address of the repository.

    Raises:
        ConfigError: the Hub refuses or is out of reach, or the repository is public and was to be private.
    """
    try:
        api: Any = hub.HfApi()
        address = str(api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True))
        if private and not api.repo_info(repository, repo_type="dataset").private:
            raise ConfigError(f"{address} is public already; leave out --private, or name another repository")
        api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=str(folder),
            commit_message=message,
            delete_patterns="leaderboards/*.csv",
        )
    except ConfigError:
        raise
    except Exception as error:  # its own errors, and those of whatever it reaches the network with
        raise ConfigError(
            f"cannot send to {repository} ({type(error).__name__}: {one_line(error)}); see that the Hub is in reach "
            "and that the token may write there, and give the same command again"
        ) from error
    return address


def _said(text: str) -> str:
    """Text in Markdown: what records say makes no markup of HTML."""
    return escape(one_line(text, 2000), quote=False)
