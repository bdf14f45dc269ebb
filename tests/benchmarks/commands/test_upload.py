"""`fl-bench upload` with a Hub that is played: what goes is named, asked for, and no more than that is sent."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
import yaml

import fl_bench as fb
from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.export.hub import card
from fl_bench.benchmarks.records.models import MODELS
from fl_bench.federation.kept import Kept, KeptAbout, KeptNets

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

KEPT = Kept(
    KeptAbout((1, 8, 8), 10, "image", None, 0, {"mlp-8": KeptNets("client", "", (0,), (0,))}),
    {"mlp-8": {"w": np.ones((1, 3), np.float32)}},
)


@dataclass
class Hub:
    """What the package `huggingface_hub` does with one repository."""

    place: Path
    token: str | None = "hf_x"
    private: bool = False
    broken: bool = False
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def get_token(self) -> str | None:
        return self.token

    def HfApi(self) -> Hub:
        return self

    def create_repo(self, repository: str, **how: Any) -> str:
        self.asked.append((repository, how))
        if self.broken:
            raise OSError("[Errno -2] Name or service not known")
        return f"https://hub.test/datasets/{repository}"

    def repo_info(self, repository: str, *, repo_type: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, folder_path: str, **how: Any) -> None:
        shutil.copytree(folder_path, self.place)
        self.asked.append((folder_path, how))

    def files(self) -> set[str]:
        return {path.relative_to(self.place).as_posix() for path in self.place.rglob("*") if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    played = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", played)  # type: ignore[arg-type]  # all that is asked of it
    return played


@pytest.fixture
def filled(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Store:
    """Two methods, one of which kept a model."""
    store.write(cell_of("local"), outcome())
    store.write(cell_of("fedmd"), outcome({"client": [50.0, 60.0]}), models=KEPT)
    return store


@pytest.fixture
def upload(filled: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command; its exit code, what it printed, and what it said in one line."""

    def run(*words: str, repository: str = "me/mine") -> tuple[int, str, str]:
        code = run_command(["upload", str(filled.results), repository, "--no-figures", *words])
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return run


ALWAYS = {"README.md", "index.html", "records.tar.xz", "leaderboards/digits.csv", "leaderboards/overall.csv"}


def test_what_goes_is_sent_as_one_commit_and_reads_like_the_folder(hub: Hub, upload: Callable[..., Any]) -> None:
    code, _, said = upload("--yes")
    assert code == 0
    assert "sent 5 files" in said
    assert "of 2 runs to https://hub.test/datasets/me/mine" in said
    assert hub.files() == ALWAYS
    (made, how), (folder, sent) = hub.asked
    assert (made, how) == ("me/mine", {"repo_type": "dataset", "private": False, "exist_ok": True})
    assert (sent["repo_id"], sent["repo_type"], sent["commit_message"]) == ("me/mine", "dataset", "fl-bench: 2 runs")
    assert not Path(folder).exists()
    assert sorted(record.label for record in fb.load(hub.place).records) == ["fedmd", "local"]
    text = (hub.place / "README.md").read_text()
    about = yaml.safe_load(text.split("---")[1])
    assert about["configs"] == [{"config_name": "overall", "data_files": "leaderboards/overall.csv"}]
    assert 'snapshot_download("me/mine", repo_type="dataset")' in text
    assert "tuning.json" not in text


def test_models_go_when_they_are_asked_for(hub: Hub, upload: Callable[..., Any], filled: Store) -> None:
    assert upload("--yes", "--models")[0] == 0
    (name,) = (record.name for record in filled.records() if record.label == "fedmd")
    own = {f"runs/{name}/{file}" for file in ("run.json", "rounds.csv", "clients.csv", MODELS)}
    assert hub.files() == ALWAYS | own
    assert len(fb.load(hub.place)) == 2
    assert fb.load(hub.place).only(methods=["fedmd"]).records[0].folder == hub.place / "runs" / name


def test_filters_leave_runs_out(hub: Hub, upload: Callable[..., Any]) -> None:
    assert upload("--yes", "--methods", "local", "--models")[0] == 0
    assert [record.label for record in fb.load(hub.place).records] == ["local"]
    assert hub.files() == ALWAYS


def test_a_dry_run_says_what_would_go_and_needs_nobody(
    upload: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    code, out, said = upload("--dry-run", "--json")
    assert code == 0
    assert set(json.loads(out)["files"]) == ALWAYS
    assert json.loads(out)["sent"] is False
    assert "would send 5 files" in said
    code, _, said = upload("--yes")
    assert code == 2
    assert "pip install 'fl-bench[hub]'" in said


def test_nothing_goes_without_a_yes(hub: Hub, upload: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, said = upload()
    assert code == 2
    assert "cannot ask for confirmation without a terminal; pass --yes" in said
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text, err: asked.append(text))
    code, _, said = upload("--private")
    assert (code, len(asked)) == (1, 1)
    assert asked[0].startswith("Send 5 files (")
    assert asked[0].endswith("of 2 runs to the private dataset me/mine?")
    assert said.endswith("nothing was sent")
    assert not hub.asked


def test_what_the_hub_does_not_take_is_one_message(hub: Hub, upload: Callable[..., Any]) -> None:
    code, _, said = upload("--yes", "--private")
    assert code == 2
    assert "https://hub.test/datasets/me/mine is public already" in said
    assert not hub.place.exists()
    hub.broken = True
    code, _, said = upload("--yes")
    assert code == 2
    assert "cannot send to me/mine (OSError: [Errno -2] Name or service not known)" in said
    hub.token = None
    code, _, said = upload("--yes")
    assert code == 2
    assert "nobody is logged in to the Hub: set HF_TOKEN" in said


@pytest.mark.parametrize("name", ["mine", "me/mine/too", "../mine", "me/..", "-x/y", "me/mine\n"])
def test_what_names_no_repository_is_refused(upload: Callable[..., Any], name: str) -> None:
    code, _, said = upload("--", repository=name) if name.startswith("-") else upload("--dry-run", repository=name)
    assert code == 2
    assert "error:" in said


def test_a_card_is_no_markup_of_records() -> None:
    text = card("me/mine", "<b>\x1b x", "", ["<script> is better"], ["records.tar.xz", "tuning.json"])
    assert "# &lt;b&gt; x" in text
    assert "- &lt;script&gt; is better" in text
    assert "- `tuning.json`: the ledger" in text
    assert "index.html" not in text
