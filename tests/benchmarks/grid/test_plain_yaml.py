"""YAML becomes plain values, or one message with line and column; hostile YAML is refused at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.plain_yaml import assignments, parse_yaml, read_yaml, to_yaml
from fl_bench.errors import ConfigError
from fl_bench.limits import YAML_BYTES, YAML_DEPTH, YAML_VALUES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "0.001", ".1e-2"])
def test_numbers_with_exponents_are_numbers(text: str) -> None:
    assert parse_yaml(text, "-o") == 0.001


def test_whole_numbers_stay_whole() -> None:
    assert parse_yaml("{a: 10, b: -3, c: 0-4, d: e3}", "-o") == {"a": 10, "b": -3, "c": "0-4", "d": "e3"}


@pytest.mark.parametrize("text", ["4:00:00", "30:20", "1:30.5", "+1:1"])
def test_times_are_no_numbers_of_base_sixty(text: str) -> None:
    assert parse_yaml(text, "-o") == text


def test_what_is_written_is_read_as_it_was() -> None:
    texts = ["1e5", "12", "4:00:00", "no", "~", "0-4", "fedmd[digest_lr=0.01]", "a: b", "12e34", "", "é", "n" * 300]
    values = {"texts": texts, "numbers": [1e-5, 1e300, 0.1, 3, -2], "nested": {"a": {"b": [1, {"c": None}]}}}
    assert parse_yaml(to_yaml(values), "x") == values


def test_a_key_given_twice_is_an_error_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"g.yaml, line 3, column 1: this is not valid YAML: 'a' is given twice"):
        parse_yaml("a: 1\nb: 2\na: 3\n", "g.yaml")


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "!!set {a, b}", "!!binary aGk=", "!!omap []"])
def test_yaml_makes_no_objects(text: str) -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        parse_yaml(text, "g.yaml")


def test_aliases_repeat_values() -> None:
    assert parse_yaml("a: &x {n: 1}\nb: [*x, *x]\n", "g.yaml") == {"a": {"n": 1}, "b": [{"n": 1}, {"n": 1}]}


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]
)
"""8^9 values in 400 bytes."""


def doubled(levels: int) -> str:
    """2^levels values, a level of depth for each."""
    return "\n".join(["- &a0 [x]"] + [f"- &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, f"line 5, column 5: .* more than {YAML_VALUES} values"),
        (BOMB.replace("[", "{? [").replace("]", "] : 1}"), "more than|plain text"),
        (doubled(YAML_DEPTH + 20), "more than"),
        ("a: &a [*a]", "line 1, column 4: .*an alias .* stands inside what it repeats"),
        ("&a {b: {c: *a}}", "stands inside what it repeats"),
        ("a: &a {<<: *a}", "stands inside what it repeats"),
        ("[" * 100_000, f"more than {YAML_DEPTH} levels"),
        ("{a: " * 1000 + "}" * 1000, f"more than {YAML_DEPTH} levels"),
        ("? " * 1000, f"more than {YAML_DEPTH} levels"),
        ("- " * 1000, f"more than {YAML_DEPTH} levels"),
        ("[" + "x," * (YAML_VALUES + 1) + "]", f"more than {YAML_VALUES} values"),
        ("x" * (YAML_BYTES + 1), f"at most {YAML_BYTES} characters"),
        ("9" * 5000, "at most 64 characters, found 5000"),
        ("0x" + "f" * 5000, "at most 64 characters"),
        ("!!int 1" + ":59" * 5000, "at most 64 characters"),
        ("." + "9" * 5000, "at most 64 characters"),
    ],
)
def test_hostile_yaml_is_refused_at_once(text: str, message: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "g.yaml")
    assert time.process_time() - began < 15  # without limits most of these take minutes, or all memory


def test_depth_and_number_of_values_reach_their_limits() -> None:
    parse_yaml("[" * YAML_DEPTH + "]" * YAML_DEPTH, "g.yaml")
    with pytest.raises(ConfigError, match="levels"):
        parse_yaml("[" * (YAML_DEPTH + 1) + "]" * (YAML_DEPTH + 1), "g.yaml")
    half = YAML_DEPTH // 2
    parse_yaml(f"[&a {'[' * half}{']' * half}, {'[' * (half - 2)}*a{']' * (half - 2)}]", "g.yaml")
    with pytest.raises(ConfigError, match="levels"):  # written out, the alias goes deeper than the text
        parse_yaml(f"[&a {'[' * half}{']' * half}, {'[' * half}*a{']' * half}]", "g.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.yaml").write_bytes(b"#" * (YAML_BYTES + 1))
    for path, message in (
        (tmp_path / "none.yaml", "there is no file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "bytes.yaml", "is not UTF-8"),
        (tmp_path / "large.yaml", f"at most {YAML_BYTES} bytes"),
        (tmp_path / f"{'n' * 300}.yaml", "cannot be read: File name too long"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_yaml(path)


def test_assignments_of_an_option() -> None:
    assert assignments(["threads=2", " stack = null"], "--use", "threads=2") == {"threads": 2, "stack": None}
    with pytest.raises(ConfigError, match="--use threads: write key=value, such as --use threads=2"):
        assignments(["threads"], "--use", "threads=2")
    with pytest.raises(ConfigError, match="--use threads is given twice"):
        assignments(["threads=1", "threads=2"], "--use", "threads=2")
