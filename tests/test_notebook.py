"""The example notebook runs, on a run that is made here."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lm_probe.cli import main

NOTEBOOK = Path(__file__).parent.parent / "examples" / "explore_a_run.ipynb"


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
def test_every_cell_runs(series: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ["--text", str(text_file), "--tokens", "400", "--context", "32"]
    tasks = ["--tasks", "count_query_m5", "--task-documents", "6", "--no-report"]
    assert main(["sweep", str(series), "--out", str(tmp_path / "run"), *text, *tasks]) == 0
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs are stripped"
    monkeypatch.setenv("LM_PROBE_RUN", str(tmp_path / "run"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data for cell in code for output in cell.outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == sum("plot_" in cell.source for cell in code[1:])
    said = "".join(output.text for cell in code for output in cell.outputs if output.output_type == "stream")
    assert "tiny: cannot tell: 3 checkpoints do not show" in said
