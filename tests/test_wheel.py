"""What a user installs: the wheel holds both packages, and they import where nothing of the repository is in reach."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

IMPORT_EVERYTHING = """
import sys
sys.path.insert(0, sys.argv[1])
import importlib, importlib.metadata, pathlib, pkgutil
for name in ("pyro_textvae", "pyro_textvae_distributions"):
    package = importlib.import_module(name)
    assert pathlib.Path(package.__file__).is_relative_to(sys.argv[1]), package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(importlib.metadata.version("pyro-textvae"))
"""


def run(*command: str, cwd: Path) -> str:
    child = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, f"{' '.join(command)}\n{child.stdout}\n{child.stderr}"
    return child.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    dist_info = f"pyro_textvae-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"pyro_textvae", "pyro_textvae_distributions", dist_info}
    assert f"{dist_info}/licenses/LICENSE" in names


@pytest.mark.parametrize("package", ["pyro_textvae", "pyro_textvae_distributions"])
def test_type_checkers_are_told_of_the_annotations(wheel: Path, package: str):
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist(), f"{package} needs an empty file 'py.typed'"


def test_the_wheel_imports_in_an_empty_folder(wheel: Path, tmp_path: Path):
    target, elsewhere = tmp_path / "installed", tmp_path / "empty"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    run(*pip, "--target", str(target), str(wheel), cwd=elsewhere)
    # Isolated, so that neither PYTHONPATH nor the current folder helps; the wheel goes before an editable install.
    output = run(sys.executable, "-I", "-c", IMPORT_EVERYTHING, str(target), cwd=elsewhere)
    assert output.split()[-1] == PROJECT["version"]
    assert (target / "bin" / "pyro-textvae").exists() or (target / "Scripts").exists()
