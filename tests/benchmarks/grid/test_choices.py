"""Methods of the command line: names, labels, brackets, and what a grid says of them."""

from __future__ import annotations

from fl_bench.benchmarks.grid.choices import choose_methods, parse_method
from fl_bench.methods.registry import METHODS


def test_methods_of_the_command_line_keep_the_grids_settings() -> None:
    configured = [parse_method({"name": "fedmd", "label": "tuned", "settings": {"digest_epochs": 3}}, "methods")]
    (tuned,) = choose_methods("tuned[digest_lr=1e-2, clip=null]", configured)
    assert (tuned.name, tuned.label) == ("fedmd", "tuned[digest_lr=0.01;clip=None]")
    assert tuned.settings == {"digest_epochs": 3, "digest_lr": 0.01, "clip": None}
    (plain,) = choose_methods("fedmd", configured)
    assert plain.settings == {}


def test_brackets_take_codec_and_label() -> None:
    (choice,) = choose_methods("cosmos[label=mine;codec=float16;clusters=3]", [])
    assert (choice.name, choice.label, choice.codec, choice.settings) == ("cosmos", "mine", "float16", {"clusters": 3})


def test_all_is_every_method_once() -> None:
    configured = [parse_method({"name": "fedmd", "label": "tuned", "settings": {"digest_epochs": 3}}, "methods")]
    chosen = choose_methods("all", configured)
    assert sorted(choice.name for choice in chosen) == METHODS.names()


def test_brackets_give_a_method_training_of_its_own() -> None:
    (choice,) = choose_methods("fedavg[training.lr=0.1;training.local_epochs=2;weights=uniform]", [])
    assert choice.label == "fedavg[training.lr=0.1;training.local_epochs=2;weights=uniform]"
    assert (choice.settings, choice.training) == ({"weights": "uniform"}, {"lr": 0.1, "local_epochs": 2})
