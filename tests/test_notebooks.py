"""The notebooks of docs/: committed bare, and run from a fresh kernel without a word of complaint."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from wonderland.prose import chapters

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("*.ipynb"))
CHAPTERS = {
    "orthogonal_fine_tuning_tutorial": [1, 2, 3, 4, 10],
    "OSFT_Explainer_Notebook": [5, 6, 7, 8, 9, 11],
    "wonderland": range(1, 14),
}
"""The chapters whose demos a notebook shows."""
PANEL = "application/vnd.holoviews_exec.v0+json"


def _ran(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(DOCS)}}).execute()
    return notebook


def test_there_are_three() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(CHAPTERS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_is_committed_without_output(self, path: Path) -> None:
        notebook = json.loads(path.read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert code
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
        assert set(notebook["metadata"]) == {"kernelspec", "language_info"}

    def test_cells_are_short(self, path: Path) -> None:
        cells = json.loads(path.read_text())["cells"]
        assert max(len(cell["source"]) for cell in cells if cell["cell_type"] == "code") <= 20

    def test_its_links_lead_somewhere(self, path: Path) -> None:
        text = "".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        assert [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (DOCS / link).exists()] == []

    def test_runs_and_shows_its_demos(self, path: Path) -> None:
        outputs = [output for cell in _ran(path).cells if cell.cell_type == "code" for output in cell.outputs]
        said = [output.text for output in outputs if output.get("name") == "stderr"]
        assert said == []
        results = [output.data for output in outputs if output.output_type == "execute_result"]
        demos = [data for data in results if PANEL in data]
        named = {data["text/plain"].partition("(")[0] for data in demos}
        for number in CHAPTERS[path.stem]:
            told = {content for kind, content in chapters()[number].parts if kind == "demo"}
            assert told & named or not told, f"chapter {number}"
        for data in demos:
            assert len(data["text/html"]) < 3_000_000  # what the reader's notebook grows by when it is saved
        for data in results:
            if PANEL not in data:
                assert "Wonderland" not in data["text/plain"]
