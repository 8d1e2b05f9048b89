import os
import subprocess
import sys
from pathlib import Path

import pytest

from lift3d.torchvision_guard import HOOK, repair_environment

QUIET = "quiet"
# What torchvision does at import where its compiled operators are missing.
DESCRIBES = """
import torch
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
"""


def fresh(code: str, site_packages: Path, *first: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process that starts as an environment with these site-packages does."""
    path = os.pathsep.join(str(one) for one in (*first, Path(__file__).parents[1]))
    start = (
        f"import site, sys; sys.modules.pop({HOOK!r}, None)\n"
        f"sys.path[:] = [one for one in sys.path if not one.endswith({QUIET!r})]\n"
        f"site.addsitedir({str(site_packages)!r}); assert 'torch' not in sys.modules\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torchvision of the test's own, imported instead of the installed one; the hook of this environment rests."""
    package = tmp_path / "first" / "torchvision"
    package.mkdir(parents=True)
    (tmp_path / QUIET).mkdir()
    (tmp_path / QUIET / f"{HOOK}.py").write_text("def install(): pass\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(tmp_path / QUIET)]))
    return package


def test_libraries_that_import_torchvision_may_be_imported_before_lift3d(tmp_path: Path) -> None:
    repair_environment(tmp_path)
    found = fresh(
        "import timm, open_clip; import lift3d; lift3d.build_operator('timm:test_vit?weights=random')", tmp_path
    )
    assert found.returncode == 0, found.stderr


def test_missing_operators_are_declared_in_every_process_after_the_repair(tmp_path: Path, torchvision: Path) -> None:
    (torchvision / "__init__.py").write_text(DESCRIBES)
    before = fresh("import torchvision", tmp_path, torchvision.parent, tmp_path / QUIET)
    assert "operator torchvision::nms does not exist" in before.stderr
    assert repair_environment(tmp_path)
    after = fresh(
        "import torchvision; import torch; torch.ops.torchvision.nms", tmp_path, torchvision.parent, tmp_path / QUIET
    )
    assert after.returncode == 0, after.stderr


@pytest.mark.parametrize("content", ["", "raise RuntimeError('no disk')", "raise ImportError('no module')"])
def test_an_environment_without_that_fault_is_left_as_it_is(tmp_path: Path, torchvision: Path, content: str) -> None:
    (torchvision / "__init__.py").write_text(content)
    site_packages = tmp_path / "site"
    site_packages.mkdir()
    assert not repair_environment(site_packages)
    assert not list(site_packages.iterdir())
    code = "import lift3d.torchvision_guard as guard; guard.install(); import torchvision"
    found = fresh(code, site_packages, torchvision.parent)
    assert (found.returncode == 0) == (not content)
    assert HOOK not in found.stderr
