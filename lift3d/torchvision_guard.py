"""Make torchvision importable beside a torch build that its compiled operators do not fit.

A torchvision wheel built for CUDA finds no CUDA libraries beside a CPU-only torch: its compiled operators are
not loaded, and the import then fails because it describes two operators that nobody declared. timm, open_clip
and torchmetrics import torchvision, though what is used of them here needs none of its compiled operators.
Declaring the two schemas is enough.
"""

import importlib

import torch

# The operators that torchvision describes at import: boxes, scores and a threshold in, indices out.
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_DESCRIBED_AT_IMPORT = ("nms", "qnms")
# Schemas live as long as the library object that declared them.
_declared: list[torch.library.Library] = []


def ensure_torchvision() -> bool:
    """Import torchvision, declaring missing operator schemas first if need be.

    Call it before importing timm, open_clip or torchmetrics. It does nothing where torchvision imports by itself.

    Returns:
        Whether torchvision's compiled operators are there.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
        _declared.append(torch.library.Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
        for name in _DESCRIBED_AT_IMPORT:
            _declared[0].define(name + _SCHEMA)  # type: ignore[no-untyped-call]
        importlib.import_module("torchvision")
    return bool(importlib.import_module("torchvision.extension")._has_ops())
