"""Make torchvision importable beside a torch build that its compiled operators do not fit.

The import fails ("operator torchvision::nms does not exist") because it describes two operators that nobody declared.
timm and open_clip import torchvision; what is used of them needs no compiled operator, so declaring the two is enough.

``python -m lift3d.torchvision_guard`` looks whether ``import torchvision`` fails so in this environment, and only then
copies this file into its site-packages, with a ``.pth`` file that installs the import hook when Python starts. So this
file imports nothing of lift3d, and torch only once torchvision has failed.
"""

import importlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

# What it is called in site-packages; deleting the two files undoes it.
HOOK = "lift3d_torchvision_guard"
_SYMPTOM = "operator torchvision::"
# The operators that torchvision describes at import: boxes, scores and a threshold in, indices out.
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DESCRIBED_AT_IMPORT = ("nms", "qnms")
# Schemas live as long as the library object that declared them.
_declared: list[Any] = []


class _TorchvisionFinder(MetaPathFinder):
    """Finds torchvision where Python would, to be executed by ``_execute``."""

    def find_spec(
        self, fullname: str, path: Iterable[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # The path of a namespace package is no sequence; torchvision has none.
        spec = PathFinder.find_spec(fullname, None, target) if fullname == "torchvision" else None
        if spec is not None and spec.loader is not None:
            own = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _execute(own, module)  # type: ignore[method-assign]
        return spec


def _execute(own: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Execute torchvision by its own loader; if operators are missing, declare them and execute it again."""
    try:
        own(module)
    except RuntimeError as error:
        if _SYMPTOM not in str(error) or _declared:
            raise
        _declared.append(importlib.import_module("torch").library.Library("torchvision", "DEF"))
        for name in _DESCRIBED_AT_IMPORT:
            _declared[0].define(name + _SCHEMA)
        own(module)


def install() -> None:
    """Install the import hook in this process; importing other modules is left as it is."""
    if not any(isinstance(finder, _TorchvisionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchvisionFinder())


def ensure_torchvision() -> bool:
    """Import torchvision, declaring missing operators, before timm or open_clip do; return whether it has its own."""
    install()
    importlib.import_module("torchvision")
    return bool(importlib.import_module("torchvision.extension")._has_ops())


def repair_environment(site_packages: Path) -> bool:
    """Install the hook for this environment if torchvision needs it, and return whether; OSError if it cannot write."""
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    if _SYMPTOM not in tried.stderr:
        return False
    shutil.copyfile(__file__, site_packages / f"{HOOK}.py")
    (site_packages / f"{HOOK}.pth").write_text(f"import {HOOK}; {HOOK}.install()\n", encoding="utf-8")
    return True


if __name__ == "__main__":
    _folder = Path(sysconfig.get_paths()["purelib"])
    try:
        if repair_environment(_folder):
            print(f"torchvision's compiled operators do not fit torch: {_folder / HOOK}.pth lets it be imported.")
    except OSError as _error:
        sys.exit(f"'{_folder}' cannot be written: {_error.strerror}. Run this as who owns the environment.")
