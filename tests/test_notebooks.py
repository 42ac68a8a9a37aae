"""Every notebook runs, in a fresh kernel and an empty folder, and is kept with its outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EVERY_NOTEBOOK = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@EVERY_NOTEBOOK
def test_a_notebook_is_kept_with_its_outputs(path: Path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)
    assert not [place for place in ("/root/", "/home/", "site-packages") if place in path.read_text()]


def test_a_method_of_ones_own_is_under_thirty_lines():
    path = ROOT / "notebooks" / "04_your_own_method.ipynb"
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if "@recipe" in cell.source]
    (lines,) = [[line for line in source.splitlines() if line.strip()] for source in sources]
    assert len(lines) < 30  # the imports, the term and the recipe


@EVERY_NOTEBOOK
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of the notebook machinery
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "distributions")]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
