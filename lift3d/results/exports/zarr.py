"""All views as one Zarr store that xarray opens: float16 and text stay what they are, which NetCDF cannot keep."""

import warnings
from pathlib import Path

from lift3d.results.exports.files import K_WORDS, W2C_WORDS, world_words
from lift3d.results.lifted_scene import LiftedScene
from lift3d.storage.products import open_product, understood


def export_zarr(lifted: LiftedScene, out: Path) -> list[str]:
    """Write ``LiftedScene.to_xarray`` and return what there is to say. Of several stored parts all are held at once."""
    (path,) = lifted.record.parts(lifted.operator, lifted.lifter)
    product, dataset = open_product(lifted.store, path), lifted.to_xarray()
    attributes = {
        "scene": lifted.name,
        "operator": lifted.operator,
        "lifter": lifted.lifter,
        "run": lifted.recipe.run_id,
        "w2c": W2C_WORDS,
        "K": K_WORDS,
        "world": world_words(lifted),
    }
    # Chunks and codecs of the store are not those of the copy.
    dataset = dataset.drop_encoding().assign_attrs(attributes)
    with warnings.catch_warnings(), understood(product, "An array"):
        # The standard has no place yet for text and for metadata in one piece; xarray warns of a store without the
        # latter, and reads both.
        warnings.filterwarnings("ignore", message=".*Zarr (V3|format 3) specification.*")
        dataset.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)
    sizes = ", ".join(f"{name} {size}" for name, size in dataset.sizes.items())
    return [f"xarray.open_zarr opens it: {sizes}"]
