"""The project's papers: citation, conduct, templates, hooks, container; each is well formed and names what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import fl_bench

ROOT = Path(__file__).resolve().parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAPERS = [
    *FORMS,
    *(
        ROOT / name
        for name in (
            ".github/pull_request_template.md",
            ".pre-commit-config.yaml",
            ".dockerignore",
            "CITATION.cff",
            "CODE_OF_CONDUCT.md",
            "Dockerfile",
            "docs/releasing.md",
        )
    ),
]
PLACEHOLDERS = re.compile(
    r"\b(todo|tbd|fixme|xxx|lorem|your[-_](name|org|user|email)|example\.(com|org)|insert [a-z]+ here)\b|<[a-z_ ]+>",
    re.I,
)


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_no_placeholder_is_left(paper: Path) -> None:
    assert PLACEHOLDERS.search(paper.read_text(encoding="utf-8")) is None


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_every_file_that_is_named_is_there(paper: Path) -> None:
    made = {"run.json"}  # by a run
    named = re.findall(
        r"(?<![\w/.{*])((?:[\w.-]+/)*[\w-]+\.(?:md|txt|toml|cff|json|py|yml))\b", paper.read_text(encoding="utf-8")
    )
    for name in set(named) - made:
        assert (ROOT / name).exists(), f"{paper.name} names {name}"


def test_the_citation_has_what_the_format_needs() -> None:
    citation = parsed(ROOT / "CITATION.cff")
    known = {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "license",
        "keywords",
        "references",
    }
    assert set(citation) == known
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == fl_bench.__version__
    assert citation["authors"] == [{"name": "fl-bench maintainers"}]
    (cosmos,) = citation["references"]
    assert cosmos["type"] == "article"
    assert all(set(author) == {"given-names", "family-names"} for author in cosmos["authors"])
    assert cosmos["url"].endswith("2605.11165")
    assert [entry["value"] for entry in cosmos["identifiers"]] == ["arXiv:2605.11165"]


INPUTS = {
    "markdown": {"value"},
    "input": {"label", "description"},
    "textarea": {"label", "description", "render"},
    "checkboxes": {"label", "options"},
}
"""Elements of an issue form that ours use, and the attributes that each may have."""


def test_there_is_a_form_for_each_kind_of_issue() -> None:
    assert [form.stem for form in FORMS] == ["bug", "method", "wrong-number"]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_well_formed(form: Path) -> None:
    content = parsed(form)
    assert set(content) == {"name", "description", "labels", "body"}
    assert all(isinstance(content[key], str) and content[key] for key in ("name", "description"))
    ids = [element["id"] for element in content["body"] if element["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for element in content["body"]:
        assert set(element) <= {"type", "id", "attributes", "validations"}
        assert set(element["attributes"]) <= INPUTS[element["type"]]
        assert element["attributes"]["value" if element["type"] == "markdown" else "label"]
        assert set(element.get("validations", {})) <= {"required"}
    assert any(element.get("validations", {}).get("required") for element in content["body"])


def test_hooks_run_targets_of_the_makefile() -> None:
    (repository,) = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # no network
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    entries = [hook["entry"].split() for hook in repository["hooks"]]
    assert entries == [["make", "lint"], ["make", "types"]]
    assert all(target in targets for _, target in entries)
    assert all(hook["pass_filenames"] is False for hook in repository["hooks"])


def instructions() -> list[tuple[str, str]]:
    """(word, rest) of every instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, rest in pairs]


def arguments_of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def test_the_container_is_built_of_instructions_that_exist() -> None:
    words = [word for word, _ in instructions()]
    assert set(words) <= {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert words[:2] == ["ARG", "FROM"]
    for argument in arguments_of("ARG"):
        name, _, default = argument.partition("=")
        assert default  # also one that is empty is written out, `""`
        assert sum(f"${{{name}" in rest for word, rest in instructions() if word != "ARG") == 1, name
    for word in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(part, str) for part in json.loads(arguments_of(word)[0]))  # no shell in between


def test_the_container_runs_as_a_user_without_rights() -> None:
    (user,) = arguments_of("USER")
    assert f'useradd --create-home --uid "${{UID}}" {user}' in arguments_of("RUN")
    after = [word for word, _ in instructions()][[word for word, _ in instructions()].index("USER") + 1 :]
    assert after == ["ENTRYPOINT", "CMD"]


def test_the_container_holds_the_versions_of_the_published_results() -> None:
    installs = [command for command in arguments_of("RUN") if command.startswith("pip install")]
    assert len(installs) == 2
    assert all("--no-cache-dir --constraint constraints.txt" in command for command in installs)
    extras = re.search(r"\.\[(.*)\]", installs[-1])
    declared = re.search(
        r"\[project.optional-dependencies\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL
    )
    assert extras is not None
    assert declared is not None
    assert set(extras[1].split(",")) <= set(re.findall(r"^(\w+) = ", declared[1], re.MULTILINE))


def test_what_the_container_copies_is_there_and_nothing_else_is_sent() -> None:
    copied = {source for rest in arguments_of("COPY") for source in rest.split()[:-1]}
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert copied == {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_the_container_copies_every_room() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rooms = set(re.findall(r'^"fl_bench(?:\.\w+)?" = "(\w+)"$', project, re.MULTILINE))
    assert len(rooms) == 6
    assert rooms <= {source for rest in arguments_of("COPY") for source in rest.split()[:-1]}


def test_a_paper_links_to_files_that_are_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"):
        page = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name} links to {target}"
