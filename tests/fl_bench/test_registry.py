"""Registries of plugins: taken names, near misses, our own modules, installed plugins."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench import registry
from fl_bench.errors import ConfigError
from fl_bench.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class EntryPoint:
    """What `importlib.metadata` gives for an installed plugin."""

    def __init__(self, name: str, value: str, load: Callable[[], Any]) -> None:
        self.name, self.value, self.load = name, value, load


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[EntryPoint]]:
    """Entry points by group, instead of those of this environment."""
    points: dict[str, list[EntryPoint]] = {}
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points.get(group, []))
    return points


def test_names_are_sorted_and_found(installed: Any) -> None:
    fruits: Registry[str] = Registry("fruit")
    fruits.register("pear")("a pear")
    assert fruits.register("apple")("an apple") == "an apple"  # decorators hand their plugin on
    assert fruits.names() == ["apple", "pear"]
    assert fruits["pear"] == "a pear"
    assert "pear" in fruits
    assert "plum" not in fruits
    assert 3 not in fruits


def test_a_taken_name_names_both(installed: Any) -> None:
    fruits: Registry[type] = Registry("fruit")

    @fruits.register("pear")
    class First:
        pass

    with pytest.raises(ConfigError) as caught:

        @fruits.register("pear")
        class Second:
            pass

    text = str(caught.value)
    assert text.startswith("a fruit named 'pear' is already registered by ")
    assert text.index("First") < text.index("Second")
    assert text.endswith("needs another name")
    assert fruits["pear"] is First


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("paer", "no fruit is named 'paer'; did you mean 'pear'? (known: apple, pear)"),
        ("durian", "no fruit is named 'durian' (known: apple, pear)"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(installed: Any, asked: str, says: str) -> None:
    fruits: Registry[str] = Registry("fruit")
    for name in ("pear", "apple"):
        fruits.register(name)(name)
    with pytest.raises(ConfigError) as caught:
        fruits[asked]
    assert str(caught.value) == f"{says}; one of your own comes with --plugin FILE.py"


def test_installed_plugins_are_loaded_once_at_the_first_look(installed: dict[str, list[EntryPoint]]) -> None:
    loads: list[str] = []
    fruits: Registry[str] = Registry("fruit")

    def load() -> None:
        loads.append("mango")
        fruits.register("mango")("a mango")

    installed["fl_bench.fruits"] = [EntryPoint("mango", "tropical:mango", load)]
    installed["fl_bench.methods"] = [EntryPoint("other", "other:method", lambda: loads.append("another kind"))]
    assert loads == []
    assert fruits.names() == ["mango"]
    assert fruits["mango"] == "a mango"
    assert loads == ["mango"]


def test_an_installed_plugin_may_not_take_a_name_of_ours(installed: dict[str, list[EntryPoint]]) -> None:
    def other() -> None:
        """Theirs."""

    def ours() -> None:
        """Ours."""

    fruits: Registry[Callable[[], None]] = Registry("fruit")
    installed["fl_bench.fruits"] = [EntryPoint("pear", "their:pear", lambda: fruits.register("pear")(other))]
    fruits.register("pear")(ours)
    with pytest.raises(ConfigError, match=r"plugin 'pear' \(their:pear\) fails: .*registered by .*ours; .*other needs"):
        fruits.names()


def test_a_broken_plugin_is_named_whenever_it_is_in_the_way(installed: dict[str, list[EntryPoint]]) -> None:
    def load() -> None:
        raise ImportError("no module named 'tropics'")

    fruits: Registry[str] = Registry("fruit")
    installed["fl_bench.fruits"] = [EntryPoint("mango", "tropical:mango", load)]
    for look in (fruits.names, fruits.names, lambda: fruits["mango"], lambda: "mango" in fruits):
        with pytest.raises(ConfigError, match=r"plugin 'mango' \(tropical:mango\) fails: no module named 'tropics'"):
            look()


def test_what_is_lent_is_gone_afterwards() -> None:
    fruits: Registry[type] = Registry("fruit")
    fruits.register("apple")(int)
    with fruits.lent("pear", str):
        assert (fruits["pear"], fruits.names()) == (str, ["apple", "pear"])
    assert fruits.names() == ["apple"]
    with pytest.raises(ZeroDivisionError), fruits.lent("pear", str):
        raise ZeroDivisionError
    assert fruits.names() == ["apple"]
    with pytest.raises(ConfigError, match="already registered"), fruits.lent("apple", str):
        pass
    assert fruits["apple"] is int


def test_our_own_modules_are_imported_at_the_first_look(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The module registers its plugin as a method file does, which may itself look a name up meanwhile.
    (tmp_path / "orchard_for_a_test.py").write_text(
        "from tests_of_registry import FRUITS\n"
        "assert 'pear' not in FRUITS\n"
        "@FRUITS.register('pear')\n"
        "class Pear: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    fruits: Registry[type] = Registry("fruit", built_in=("orchard_for_a_test",))
    holder = type(sys)("tests_of_registry")
    holder.FRUITS = fruits  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_of_registry", holder)
    monkeypatch.delitem(sys.modules, "orchard_for_a_test", raising=False)
    assert "orchard_for_a_test" not in sys.modules
    with pytest.raises(ConfigError, match=r"registered by orchard_for_a_test.Pear; .*Registry needs another name"):
        fruits.register("pear")(Registry)  # ours come first, even where nobody has looked yet
    assert fruits.names() == ["pear"]
