"""Reads what the documentation says of a class or a module out of its source: members, signatures, docstrings."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

SECTIONS = ("Args:", "Returns:", "Raises:")
"""What a docstring may have below its words."""


SPECIFICATION = re.compile(r"\s*\(methods\.md [\d.]+\)|\s*methods\.md [\d.]+ has [^.]*\.")
"""References to the specification, which readers of the page do not have."""


@dataclass(frozen=True)
class Entry:
    """A public member of a class, or a function of a module."""

    owner: str
    """The class; of a function the module, `losses`."""
    name: str
    signature: str
    """As in the source, without `self`: `fit(objective: Objective, ...) -> FitLog`, `ids: tuple[int, ...]`."""
    doc: str
    """Empty where there is none."""

    @property
    def key(self) -> str:
        """What examples are found by: `Cohort.fit`."""
        return f"{self.owner}.{self.name}"


@dataclass(frozen=True)
class Topic:
    """A class with its public members, or a module with its public functions."""

    name: str
    where: str
    """What it is imported from: `fl_bench.federation.cohort`."""
    doc: str
    entries: tuple[Entry, ...]
    call: str = ""
    """How a class is made that says so in its docstring, `Uploads(groups: ..., *, ...)`; else empty."""


def read_class(file: str, name: str) -> Topic:
    """A class of a file of the repository."""
    node = next(node for node in _parsed(file).body if isinstance(node, ast.ClassDef) and node.name == name)
    entries, call, doc = [], "", ast.get_docstring(node) or ""
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign | ast.Assign):
            entries += _attribute(name, item, after)
        elif isinstance(item, ast.FunctionDef) and item.name == "__init__":
            call = f"{name}({_arguments(item)})" if "Args:" in doc else ""
            for statement, following in zip(item.body, [*item.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign | ast.Assign):
                    entries += _attribute(name, statement, following, made=True)
        elif isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            entries += _method(name, item)
    return Topic(name, _module(file), doc, tuple(entries), call)


def read_module(file: str) -> Topic:
    """A module of functions."""
    tree, name = _parsed(file), Path(file).stem
    functions = [item for item in tree.body if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")]
    entries = [entry for item in functions for entry in _method(name, item)]
    return Topic(name, _module(file), ast.get_docstring(tree) or "", tuple(entries))


def _parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _module(file: str) -> str:
    return "fl_bench." + file.removeprefix("fl_bench/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _attribute(
    owner: str, item: ast.AnnAssign | ast.Assign, after: ast.stmt | None, *, made: bool = False
) -> list[Entry]:
    """A field, or an attribute `made` in `__init__`, with the string below it; nothing where it is private."""
    target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
    name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else "_"
    if name.startswith("_"):
        return []
    words = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
    kind = f": {ast.unparse(item.annotation)}" if isinstance(item, ast.AnnAssign) else ""
    default = ""
    if not made and isinstance(item, ast.AnnAssign) and item.value and "field(" not in ast.unparse(item.value):
        default = f" = {ast.unparse(item.value)}"
    kind = re.sub(r"ClassVar\[(.*)\]$", r"\1", kind)
    return [Entry(owner, name, name + kind + default, words if isinstance(words, str) else "")]


def _method(owner: str, item: ast.FunctionDef) -> list[Entry]:
    """A method or a property; nothing where it only overrides one that is described elsewhere."""
    doc = ast.get_docstring(item) or ""
    if doc.startswith("See `"):
        return []
    decorators = {ast.unparse(decorator) for decorator in item.decorator_list}
    returns = "" if item.returns is None else ast.unparse(item.returns)
    if decorators & {"property", "cached_property"}:
        return [Entry(owner, item.name, f"{item.name}: {returns}", doc)]
    return [Entry(owner, item.name, f"{item.name}({_arguments(item)})" + (f" -> {returns}" if returns else ""), doc)]


def _arguments(item: ast.FunctionDef) -> str:
    """The arguments of a function or method, as who calls it sees them."""
    return re.sub(r"^(self|cls)(, )?", "", ast.unparse(item.args))


def as_markdown(doc: str) -> str:
    """A docstring in Markdown: arguments as a list, the other sections as paragraphs that say what they are."""
    paragraphs, items, section = [], [], ""
    for block in re.split(r"\n\s*\n", SPECIFICATION.sub("", doc).strip()):
        lines = [line.rstrip() for line in block.splitlines()]
        for start, end in _pieces(lines):
            head = lines[start].strip()
            section = head if head in SECTIONS else section
            words = lines[start + 1 : end] if head in SECTIONS else lines[start:end]
            if section == "Args:":
                items += [f"- {escaped(item)}" for item in _items(words)]
            elif words:
                said = escaped(" ".join(" ".join(words).split()))
                lead = f"{section.removesuffix(':')}: " if section and head in SECTIONS else ""
                paragraphs.append(lead + said)
    text = "\n\n".join(paragraphs[:1])
    listed = "\n" + "\n".join(items) if items else ""
    rest = "".join(f"\n\n{paragraph}" for paragraph in paragraphs[1:])
    return text + ("\n" + listed if listed else "") + rest


def _pieces(lines: list[str]) -> list[tuple[int, int]]:
    """Where the sections of a block of lines begin and end."""
    starts = sorted({0, *(number for number, line in enumerate(lines) if line.strip() in SECTIONS)})
    return list(zip(starts, [*starts[1:], len(lines)], strict=True))


def _items(lines: list[str]) -> list[str]:
    """The entries of an `Args:` section, `name: words`, each in one line."""
    depth = min(len(line) - len(line.lstrip()) for line in lines)
    items: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) == depth:
            name, _, words = line.strip().partition(": ")
            items.append(f"`{name}`: {words}")
        else:
            items[-1] += f" {line.strip()}"
    return items


def escaped(text: str) -> str:
    """The same for Markdown: signs that it would take for its own outside of code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<])", r"\\\1", piece) for piece in pieces)


def entry_text(entry: Entry, example: str) -> str:
    """An entry of a topic as an item of a Markdown list."""
    words, shown = as_markdown(entry.doc), f"Example: `{example}`"
    if "\n" not in words:
        return f"- `{entry.signature}`: {words} {shown}"
    return "- " + indent(f"`{entry.signature}`: {words}\n\n{shown}", "  ").lstrip()
