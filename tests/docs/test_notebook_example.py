"""The worked notebook runs from top to bottom, and what its last cells show holds."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "examples" / "notebook.ipynb").read_text("utf-8"))
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "kept without outputs"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert capsys.readouterr().out.splitlines()[-1].endswith("-> 1.000")
    assert (tmp_path / "fixed.pt").is_file()
    assert "<pre" in names["report"]._repr_html_()
