"""Maps of all views in one piece of memory, that goes back as a whole; of very many, in a file that is mapped."""

import os
import tempfile
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.errors import ResourcePromiseError

# Larger tables are mapped: the system keeps of them in memory what it has room for.
IN_MEMORY_BYTES = 2**30
_FLOAT32 = 4


def table(rows: int, columns: int) -> Float[Tensor, "row column"]:
    """Return a table to be filled; ResourcePromiseError if it is to be mapped and there is no room on the disk.

    The file has no name any more: it is gone with the table, however the process ends. Of a device, it is in memory.
    """
    byte_count = rows * columns * _FLOAT32
    if byte_count <= IN_MEMORY_BYTES or torch.get_default_device().type != "cpu":
        return torch.empty(rows, columns)
    with tempfile.NamedTemporaryFile(prefix="lift3d-surface-") as file:
        try:
            # What is mapped and not there would end the process when it is written.
            os.posix_fallocate(file.fileno(), 0, byte_count)
        except OSError as error:
            raise ResourcePromiseError(
                f"The surface needs {byte_count / 1e9:.1f} GB in '{tempfile.gettempdir()}', which it does not get "
                f"({error.strerror}). Make room there, or set TMPDIR to a folder on a larger disk."
            ) from error
        return torch.from_file(file.name, shared=True, size=rows * columns).view(rows, columns)


def held(views: Iterable[tuple[ViewId, ViewGeometry]], cell_count: int) -> dict[ViewId, ViewGeometry]:
    """Return views, made one after the other, with their maps side by side; they have so many cells in all."""
    z_depth, confidence = table(2, cell_count)
    found, start = {}, 0
    for name, view in views:
        own = slice(start, start + view.grid.cell_count)
        maps = (
            whole[own].view(view.grid.shape).copy_(part)
            for whole, part in ((z_depth, view.z_depth), (confidence, view.confidence))
        )
        found[name] = ViewGeometry(view.camera, view.grid, *maps)
        start = own.stop
    return found
