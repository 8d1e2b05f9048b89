"""The points of the surface as a Parquet table, embeddings at full width: what pandas, Polars and DuckDB read."""

from pathlib import Path

from lift3d.results.exports.files import world_words
from lift3d.results.exports.ply import in_own_colours, some_cloud
from lift3d.results.lifted_scene import LiftedScene
from lift3d.tables.schema import DataFrame

# With 384 features, 300 MB.
MOST_POINTS = 200_000


def export_table(lifted: LiftedScene, out: Path) -> list[str]:
    """Write a row per point: place, normal, colour, and all that was predicted there; return what there is to say."""
    cloud = some_cloud(lifted, MOST_POINTS)
    columns = dict(zip("xyz", cloud.xyz.numpy().T, strict=True))
    columns |= dict(zip(("nx", "ny", "nz"), cloud.normals.float().numpy().T, strict=True))
    columns |= in_own_colours(lifted, cloud, most_features=None)
    DataFrame(columns).to_parquet(out, index=False)
    return [f"{len(cloud)} points with {len(columns)} columns, {list(columns)[-1]} the last", world_words(lifted)]
