"""What `fl-bench list methods` and `describe` say of every method: nothing missing, and every example runs."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.commands.listing import describe, describe_executor, executors, methods
from fl_bench.benchmarks.grid.grid import Overrides, expand, find_grid, read_grid
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

BOUNDS = {"local", "local-public", "centralized", "centralized-group"}
"""Not published as methods: nothing to cite."""


def test_the_catalogue_is_as_large_as_a_credible_comparison_needs() -> None:
    assert len(METHODS.names()) >= 36
    assert {row["category"] for row in methods()} == {
        "averaging",
        "bound",
        "clustered",
        "distillation",
        "personalized",
        "prototypes",
    }


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_says_all_there_is_to_say(name: str) -> None:
    facts = describe(name)
    if name not in BOUNDS:
        assert re.fullmatch(r".+, .*\b20\d\d(, arXiv:\d{4}\.\d{4,5})?", facts["paper"])
        number = re.search(r"arXiv:(\S+)", facts["paper"])
        assert number is None or number[1] in facts["text"]
    assert (facts["exchange"] != "nothing") == bool(facts["payloads"])
    assert all(setting["meaning"] for setting in facts["settings"])
    assert facts["text"].partition("\n")[0].endswith(".")


def test_a_description_says_what_clients_train_with() -> None:
    assert describe("fedavg")["trains with"] == "adam 0.001 (training.lr)"
    assert describe("pfedme")["trains with"] == "sgd 0.09, decay 0.001 (pfedme.personal_lr) and sgd 0.5 (pfedme.lr)"


@pytest.mark.parametrize("name", METHODS.names())
def test_the_example_is_a_grid_that_can_run(name: str) -> None:
    words = shlex.split(describe(name)["example"])
    options = dict(zip(words[2::2], words[3::2], strict=True))
    grid = expand(
        read_grid(find_grid("quick")),
        "quick",
        Overrides(methods=options["--methods"], datasets=options["--datasets"], seeds=options["--seeds"]),
    )
    assert name in {cell.method for cell in grid.cells}
    assert not grid.unsupported


PLUGIN = '''"""A box of formulas.

    train   f_k
    send    z_k
"""

from fl_bench.methods.base import Method
from fl_bench.methods.registry import method


@method("boxed")
class Boxed(Method):
    """Clients train alone."""

    def client_update(self, clients, received, rnd):
        """Nothing."""
'''


def test_a_plugin_is_tried_with_its_file_and_its_box_keeps_its_indent(tmp_path: Path) -> None:
    file = tmp_path / "my boxed.py"
    file.write_text(PLUGIN, encoding="utf-8")
    (module,) = load_plugins([str(file)])
    assert module.Boxed is METHODS["boxed"]
    assert load_plugins([str(file)]) == (module,)
    facts = describe("boxed")
    words = shlex.split(facts["example"])
    assert words[words.index("--plugin") + 1] == str(file)
    assert facts["text"] == "A box of formulas.\n\n    train   f_k\n    send    z_k"
    assert facts["settings"] == []


def test_executors_say_all_there_is_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in executors()}
    assert {"local", "subprocess"} <= set(rows)
    assert rows["local"]["settings"] == ["jobs=null", "device=auto"]
    for name, row in rows.items():
        facts = describe_executor(name)
        assert row["summary"].endswith(".")
        assert all(setting["meaning"] for setting in facts["settings"])
        assert facts["text"].startswith(f"The executor `{name}` (benchmarks room): ")
        assert f"--executor {name} " in facts["example"]
    # `local` is a method, and an executor when it is asked for by its kind.
    for asked, said in (("executor:local", "--executor local "), ("subprocess", "kept_every"), ("local", "--methods")):
        assert run_command(["describe", asked]) == 0
        assert said in capsys.readouterr().out
    assert run_command(["describe", "fedmdd"]) == 2
    assert "no method is named 'fedmdd'; did you mean 'fedmd'" in capsys.readouterr().err
