"""The command `fl-bench new method` (benchmarks room): a complete plugin file and its test, made from templates."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from fl_bench.errors import ConfigError, unknown_name

from ..tables.terminal import say

TEMPLATES = Path(__file__).parent / "templates"
"""The files that new plugins are made of."""

KINDS = {"scores": "fedmd", "weights": "fedavg", "server-model": "fedmd", "personal": "fedper"}
"""What a new method is about, each with a template: scores on public data, averaged weights, a net that the server
trains, a part that stays with the client. And the method that it is first compared with."""


def new_method(
    name: Annotated[str, typer.Argument(help="Name of lower-case letters, digits and hyphens, such as my-method.")],
    kind: Annotated[
        str,
        typer.Option(
            metavar="|".join(KINDS),
            help="What clients and server exchange: scores on public data, all weights, scores that train a "
            "model of the server, or all weights but a personal part.",
        ),
    ] = "scores",
    folder: Annotated[Path, typer.Option("--dir", metavar="FOLDER", help="Folder to write to.")] = Path(),
) -> None:
    """Write a complete working method to change, and its test.

    \b
    fl-bench new method my-method
    fl-bench new method my-method --kind personal
    fl-bench run --plugin my_method.py --methods my-method,fedmd
    pytest test_my_method.py

    What a method may use: docs/method-interface.md.
    """
    plugin, test = write_method(name, kind, folder)
    say(f"wrote {plugin} and {test}; next:")
    print(f"fl-bench run --plugin {plugin} --methods {name},{KINDS[kind]}\npytest {test}")


def write_method(name: str, kind: str, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.py`, a complete working method, and `test_<name>.py`, which runs the contract checks on it.

    Args:
        name: the method's name in grids: small letters, digits and hyphens.
        kind: one of `KINDS`.
        folder: where to.

    Returns:
        The two files.

    Raises:
        ConfigError: there is no such kind, the name cannot be used or is taken, or a file is there already or cannot be
            written.
    """
    from ...methods.registry import METHODS

    if kind not in KINDS:
        raise unknown_name("kind of method", kind, KINDS)
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise ConfigError(
            f"a method's name has small letters, digits and single hyphens, such as my-method; got {name!r}"
        )
    if name in METHODS:
        raise ConfigError(f"a method named {name!r} exists already; choose another name")
    made = [
        (folder / f"{module}.py", filled(f"{kind}.py.txt", name)),
        (folder / f"test_{module}.py", filled_test(kind, name)),
    ]
    for path, _ in made:
        if path.exists():
            raise ConfigError(f"{path} exists already; choose another name or --dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in made:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from None
    return made[0][0], made[1][0]


def filled(template: str, name: str, **blocks: str) -> str:
    """The text of a template for a method of a name.

    Args:
        template: a file of `TEMPLATES`.
        name: the method's name in grids.
        blocks: what stands for further words between @ signs.
    """
    module = name.replace("-", "_")
    words = {"NAME": name, "MODULE": module, "CLASS": "".join(part.capitalize() for part in name.split("-")), **blocks}
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: words[match[1]], text)


def filled_test(kind: str, name: str) -> str:
    """The test of a method of a kind: the contract, and by hand what is true of this kind alone."""
    imports, _, tests = filled(f"test_{kind}.py.txt", name).partition("\n\n\n")
    return filled("test_method.py.txt", name, IMPORTS=imports, TESTS=tests.rstrip())
