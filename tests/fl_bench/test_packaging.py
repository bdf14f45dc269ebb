"""What is installed: every package of the rooms and nothing else, beside other people's packages of the same names."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("fl_bench", "benchmarks", "cosmos", "datasets", "federation", "methods")
NOT_SHIPPED = {
    "benchmarks/manual",
    "benchmarks/performance",
    "benchmarks/performance/contenders",
    "benchmarks/performance/gpu",
    "benchmarks/reliability",
    "benchmarks/studies",
    "benchmarks/studies/baselines",
    "benchmarks/studies/clusters",
    "benchmarks/studies/contraction",
    "benchmarks/studies/defaults",
    "benchmarks/studies/planted",
    "benchmarks/studies/server",
}
"""Folders with Python files that are run from a clone only."""


def folders_with(pattern: str) -> set[str]:
    """Folders of the rooms that hold a file like `pattern`, relative to the repository."""
    return {
        path.parent.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob(pattern)
        if "__pycache__" not in path.parts
    }


def import_name(folder: str) -> str:
    return folder if folder == "fl_bench" else f"fl_bench.{folder.replace('/', '.')}"


def shipped_files() -> set[str]:
    """What a wheel must hold, by the names it must have there."""
    files = [ROOT / "fl_bench" / "py.typed", *(ROOT / "benchmarks").glob("grids/*.yaml")]
    files += (ROOT / "benchmarks").glob("grids/*.tuning.json")
    files += (ROOT / "benchmarks").glob("published/*.yaml")
    files += (ROOT / "benchmarks").glob("*/templates/*")
    files += (ROOT / "benchmarks").glob("contraction/*.yaml")
    files.append(ROOT / "datasets" / "overlaps.csv")
    files += [path for folder in folders_with("__init__.py") for path in (ROOT / folder).glob("*.py")]
    names = (path.relative_to(ROOT).as_posix() for path in files)
    return {name if name.startswith("fl_bench/") else f"fl_bench/{name}" for name in names}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed_and_mapped(project: dict) -> None:
    folders = folders_with("__init__.py")
    setuptools = project["tool"]["setuptools"]
    assert setuptools["packages"] == sorted(import_name(folder) for folder in folders)
    assert setuptools["package-dir"] == {import_name(folder): folder for folder in folders}


def test_no_folder_lacks_its_init() -> None:
    assert folders_with("*.py") - folders_with("__init__.py") <= NOT_SHIPPED


def test_every_imported_library_is_declared(project: dict) -> None:
    # import name to distribution; what is neither here, nor ours, nor of the standard library was forgotten.
    known = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "torchvision"}  # torchvision reads images with PIL
    declared = {
        requirement.split(">")[0].split("[")[0]
        for requirements in (
            project["project"]["dependencies"],
            *project["project"]["optional-dependencies"].values(),
        )
        for requirement in requirements
    }
    for folder in folders_with("__init__.py"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                for name in (name.partition(".")[0] for name in names):
                    if name not in sys.stdlib_module_names and name != "fl_bench":
                        assert known.get(name, name) in declared, f"{path} imports {name}"


STAND_IN = """
import sys
from pathlib import Path
import benchmarks, cosmos, datasets, federation, methods
for package in (benchmarks, cosmos, datasets, federation, methods):
    assert package.ORIGIN == "somebody else's", package
import fl_bench
import fl_bench.benchmarks, fl_bench.cosmos, fl_bench.datasets.dataset, fl_bench.federation.models, fl_bench.methods
from fl_bench.methods.registry import METHODS
assert {"cosmos", "fedavg", "fedmd", "local"} <= set(METHODS.names())
assert not hasattr(fl_bench.datasets, "ORIGIN")
import datasets
assert datasets.ORIGIN == "somebody else's"
print(Path(fl_bench.datasets.__file__).resolve().parent)
print(Path(fl_bench.__file__).resolve().parent)
"""


def beside_stand_ins(tmp_path: Path, *search: Path) -> list[Path]:
    """Where `fl_bench.datasets` and `fl_bench` come from in a process that has packages named like our rooms."""
    others = tmp_path / "others"
    for room in ROOMS[1:]:
        (others / room).mkdir(parents=True)
        (others / room / "__init__.py").write_text('ORIGIN = "somebody else\'s"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    paths = [str(others), *map(str, search), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.run(
        [sys.executable, "-c", STAND_IN],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [Path(line) for line in process.stdout.split("\n") if line]


def test_packages_named_like_our_rooms_keep_working(tmp_path: Path) -> None:
    ours, _ = beside_stand_ins(tmp_path)
    assert ours == (ROOT / "datasets")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the repository, with tests, results and a stray note among the rooms."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0"
    if int(found.partition(".")[0]) < 77:
        pytest.skip(f"needs setuptools>=77 in this environment to build without a network, found {found}")
    source = tmp_path_factory.mktemp("wheel") / "source"
    source.mkdir()
    for name in (*ROOMS, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "results" / "runs").mkdir(parents=True)
    (source / "results" / "runs" / "rounds.csv").write_text("round\n")
    (source / "methods" / "notes.txt").write_text("not for users\n")
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    target = source.parent / "dist"
    process = subprocess.run(
        [sys.executable, "-c", build, str(target)], cwd=source, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    (built,) = target.glob("*.whl")
    return built


def test_a_wheel_holds_the_rooms_and_nothing_else(wheel: Path, project: dict) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "fl-bench = fl_bench.benchmarks.commands.cli:main" in archive.read(entry_points).decode()
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == shipped_files()
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_wheel_works_beside_packages_named_like_our_rooms(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    process = subprocess.run([*install, str(wheel)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in target.iterdir() if path.suffix != ".dist-info") == ["bin", "fl_bench"]
    ours, package = beside_stand_ins(tmp_path, target)
    assert ours == (target / "fl_bench" / "datasets").resolve()
    assert package == (target / "fl_bench").resolve()
