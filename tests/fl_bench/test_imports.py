"""Who imports whom: no circle within or between rooms, and no arrow against the order that docs/architecture.md states.

Imports for types only and imports inside functions count like all others: they hide a circle from Python, not from
readers. Names that a registry looks up when it is asked (`BUILT_IN`) are no imports.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = "fl_bench"

Imports = dict[str, set[str]]
"""The files that each file imports, by their paths in the repository."""
Layers = dict[str, list[list[str]]]
"""The names (`cell.py`, `grid/`) of each line of a room's list, top to bottom."""


def read_rooms(text: str) -> list[str]:
    """The rooms of the table, the one that imports no other first."""
    return re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)


def read_layers(text: str) -> Layers:
    """The lists of layers: blocks whose first line is a room, then a line per layer, its names before its words."""
    layers = {}
    for room, block in re.findall(r"^```text\n(\w+)/\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        layers[room] = [re.findall(r"\S+", _names(line)) for line in block.splitlines()]
    return layers


def _names(line: str) -> str:
    names = re.match(r"\s*((\w+(\.py|/)(\s+|$))+)", line)
    assert names, f"docs/architecture.md names no file in the line {line!r}"
    return names[1]


def read_imports(root: Path, rooms: list[str]) -> Imports:
    """What every Python file of the rooms imports of them."""
    files = {path.relative_to(root).as_posix() for room in rooms for path in (root / room).rglob("*.py")}
    return {file: {found for found in _targets(root, file, files, rooms) if found != file} for file in files}


def _targets(root: Path, file: str, files: set[str], rooms: list[str]) -> set[str]:
    package = _dotted(file).rpartition(".")[0] if not file.endswith("/__init__.py") else _dotted(file)
    targets = set()
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {_file(alias.name, files, rooms) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` means the module, `from module import name` the module too.
            targets |= {
                _file(f"{module}.{alias.name}", files, rooms) or _file(module, files, rooms) for alias in node.names
            }
    return {target for target in targets if target}


def _dotted(file: str) -> str:
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.split(".")[0] == PACKAGE else f"{PACKAGE}.{name}"


def _file(module: str, files: set[str], rooms: list[str]) -> str | None:
    """The file of a module of ours."""
    first, *parts = module.split(".")
    if first != PACKAGE:
        return None
    place = "/".join(parts if parts and parts[0] in rooms else [PACKAGE, *parts])
    return next((path for path in (f"{place}.py", f"{place}/__init__.py") if path in files), None)


def circles(imports: Imports) -> list[list[str]]:
    """Groups of files of which each reaches each other by imports (strongly connected components, by Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(file: str) -> None:
        index[file] = low[file] = len(index)
        stack.append(file)
        for target in sorted(imports[file]):
            if target not in index:
                visit(target)
                low[file] = min(low[file], low[target])
            elif target in stack:
                low[file] = min(low[file], index[target])
        if low[file] == index[file]:
            group = stack[stack.index(file) :]
            del stack[stack.index(file) :]
            if len(group) > 1:
                found.append(sorted(group))

    for file in sorted(imports):
        if file not in index:
            visit(file)
    return sorted(found)


def wrong_arrows(imports: Imports, rooms: list[str], layers: Layers) -> list[str]:
    """Imports that go from a room to a later one, or within a room to a higher line or a right neighbour."""
    found = []
    for file, targets in sorted(imports.items()):
        for target in sorted(targets):
            room, other = file.split("/")[0], target.split("/")[0]
            if room != other:
                wrong = rooms.index(other) > rooms.index(room)
            elif room in layers and _entry(file) != _entry(target):
                wrong = not _below(_entry(target), _entry(file), layers[room])
            else:
                wrong = False
            if wrong:
                found.append(f"{file} imports {target}")
    return found


def unnamed(imports: Imports, layers: Layers) -> list[str]:
    """What a room with a list of layers has and the list does not name, or the other way round."""
    found = []
    for room, lines in layers.items():
        named = {name for line in lines for name in line}
        present = {_entry(file) for file in imports if file.startswith(f"{room}/")} - {"__init__.py"}
        found += [f"{room}/{name}" for name in sorted(named ^ present)]
    return found


def _entry(file: str) -> str:
    """A file's name in the list of its room: `cell.py`, or `grid/` for all that is in this folder."""
    _, name, *rest = file.split("/")
    return f"{name}/" if rest else name


def _below(name: str, other: str, lines: list[list[str]]) -> bool:
    """Whether `name` stands on a lower line than `other`, or left of it; a room's `__init__.py` lies below all."""
    places = {entry: (-row, column) for row, line in enumerate(lines) for column, entry in enumerate(line)}
    bottom = (-len(lines), 0)
    return places.get(name, bottom) < places.get(other, bottom)


@pytest.fixture(scope="module")
def imports() -> Imports:
    return read_imports(ROOT, packaged())


def packaged() -> list[str]:
    """The rooms with code, in the order of the page."""
    folders = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    rooms = {folder.split("/")[0] for folder in folders}
    assert rooms <= set(read_rooms(PAGE))
    return [room for room in read_rooms(PAGE) if room in rooms]


def test_no_two_files_import_each_other(imports: Imports) -> None:
    assert circles(imports) == []


def test_imports_follow_the_order_of_the_readme(imports: Imports) -> None:
    assert wrong_arrows(imports, packaged(), read_layers(PAGE)) == []


def test_the_readme_names_every_file_of_a_room_that_it_orders(imports: Imports) -> None:
    assert "benchmarks" in read_layers(PAGE)
    assert unnamed(imports, read_layers(PAGE)) == []


def test_all_rooms_were_read(imports: Imports) -> None:
    assert imports["benchmarks/records/store.py"] >= {"benchmarks/records/bundle.py", "benchmarks/grid/cell.py"}
    assert "fl_bench/errors.py" in imports["datasets/catalogue.py"]
    assert "methods/base.py" in imports["cosmos/method.py"]


STATED = """\
| room | what is in it |
|---|---|
| `fl_bench/` | shared |
| `lower/` | wings |
| `upper/` | on top |

```text
lower/
    top.py           what people see
    left.py right.py  two beside each other
    wing/            a folder
```
"""
ORDER = ["fl_bench", "lower", "upper"]


def planted(root: Path, **texts: str) -> Imports:
    """The imports of made-up rooms; `lower__wing__a="..."` is the text of lower/wing/a.py."""
    for name, text in {"fl_bench__errors": "", "lower____init__": "", "upper____init__": "", **texts}.items():
        folders, _, stem = name.removesuffix("____init__").rpartition("__")
        parts = [*name.removesuffix("____init__").split("__"), "__init__"] if name.endswith("____init__") else []
        path = root.joinpath(*(parts or [*folders.split("__"), stem])).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_imports(root, ORDER)


def arrows(imports: Imports) -> list[str]:
    return wrong_arrows(imports, read_rooms(STATED), read_layers(STATED))


def test_the_readme_is_read() -> None:
    assert read_rooms(STATED) == ORDER
    assert read_layers(STATED) == {"lower": [["top.py"], ["left.py", "right.py"], ["wing/"]]}
    with pytest.raises(AssertionError, match="names no file"):
        read_layers("```text\nlower/\n    some words\n```\n")


def test_what_goes_down_or_left_is_right(tmp_path: Path) -> None:
    found = planted(
        tmp_path,
        lower__top="from . import left\nfrom .right import x\nfrom .wing.a import y",
        lower__right="from .left import x",
        lower__left="from .wing import a\nfrom fl_bench.errors import E",
        lower__wing__a="import json, fl_bench.errors",
        lower__wing__b="from .a import x",
        upper__file="from fl_bench.lower.top import x\nfrom ..lower import wing",
    )
    assert found["lower/top.py"] == {"lower/left.py", "lower/right.py", "lower/wing/a.py"}
    assert found["lower/left.py"] == {"lower/wing/a.py", "fl_bench/errors.py"}
    assert found["lower/wing/a.py"] == {"fl_bench/errors.py"}
    assert found["upper/file.py"] == {"lower/top.py", "lower/__init__.py"}
    assert (circles(found), arrows(found), unnamed(found, read_layers(STATED))) == ([], [], [])


TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .{} import x"


@pytest.mark.parametrize(
    "back",
    ["from .a import x", "from . import a", TYPE_ONLY.format("a"), "def f():\n    from .a import x"],
    ids=["name", "module", "types only", "inside a function"],
)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    found = planted(tmp_path, lower__wing__a="from .b import x", lower__wing__b=back)
    assert circles(found) == [["lower/wing/a.py", "lower/wing/b.py"]]


def test_a_circle_of_types_only_is_found(tmp_path: Path) -> None:
    found = planted(tmp_path, lower__wing__a=TYPE_ONLY.format("b"), lower__wing__b=TYPE_ONLY.format("a"))
    assert circles(found) == [["lower/wing/a.py", "lower/wing/b.py"]]


def test_a_long_circle_between_rooms_is_found(tmp_path: Path) -> None:
    found = planted(
        tmp_path,
        lower__wing__a="from ...upper.file import x",
        upper__file="import fl_bench.lower.left",
        lower__left="from .wing.a import x",
        lower__top="from .left import x",
    )
    assert circles(found) == [["lower/left.py", "lower/wing/a.py", "upper/file.py"]]
    assert arrows(found) == ["lower/wing/a.py imports upper/file.py"]


def test_two_ways_to_one_file_are_no_circle(tmp_path: Path) -> None:
    found = planted(tmp_path, lower__wing__a="from . import b, c", lower__wing__b="", lower__wing__c="from . import b")
    assert circles(found) == []


@pytest.mark.parametrize(
    ("file", "text", "arrow"),
    [
        ("lower__wing__a", "from ..top import x", "lower/wing/a.py imports lower/top.py"),
        ("lower__wing__a", TYPE_ONLY.format(".left"), "lower/wing/a.py imports lower/left.py"),
        ("lower__left", "from .right import x", "lower/left.py imports lower/right.py"),
        ("lower__right", "def f():\n    from . import top", "lower/right.py imports lower/top.py"),
        ("lower____init__", "from .left import x", "lower/__init__.py imports lower/left.py"),
        ("lower__top", "from ..upper import file", "lower/top.py imports upper/file.py"),
        ("fl_bench__errors", "from fl_bench.lower import top", "fl_bench/errors.py imports lower/top.py"),
    ],
)
def test_an_arrow_upwards_is_found(tmp_path: Path, file: str, text: str, arrow: str) -> None:
    texts = dict.fromkeys(("lower__top", "lower__left", "lower__right", "upper__file"), "")
    found = planted(tmp_path, **{**texts, file: text})
    assert circles(found) == []
    assert arrows(found) == [arrow]


def test_what_the_readme_does_not_name_is_found(tmp_path: Path) -> None:
    found = planted(tmp_path, lower__top="", lower__left="", lower__wing__a="", lower__more="")
    assert unnamed(found, read_layers(STATED)) == ["lower/more.py", "lower/right.py"]
