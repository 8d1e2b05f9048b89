import re
from pathlib import Path

import pytest

import lift3d

ROOT = Path(__file__).parents[2]


def test_all_is_what_can_be_imported():
    assert sorted(lift3d.__all__) == sorted(lift3d._HOMES)
    assert all(callable(getattr(lift3d, name)) for name in lift3d.__all__)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="read_scene"):
        lift3d.no_such_thing  # noqa: B018


def test_the_example_of_the_readme_runs(tmp_path, capsys):
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert example.count("\n") <= 14
    exec(example.replace("runs/example", str(tmp_path / "store")), {})
    assert "plane_sweep" in capsys.readouterr().out
