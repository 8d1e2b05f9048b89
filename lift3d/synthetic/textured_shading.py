"""Colours of a training world: textured skins, one sun, highlights, reflections of the sky.

Letters: ``local`` are lengths along a solid's own axes from its centre; n normal, d ray direction.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray

from lift3d.synthetic.skins import Atlas, Skin, skin_table
from lift3d.synthetic.solids import Hits, Kind, Rays, Solid, field_at
from lift3d.synthetic.textures import TILE_PX

# Of a reflection seen in a rough surface only the coarse parts are left: this level of the sky's pyramid.
_REFLECTION_LEVEL = 2.5
_DETAIL_RATIO = 5.3
# Rays that are shaded at a time: small enough to stay in the processor's cache.
_STRIP_RAYS = 8192
_AXES = np.eye(3, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Solids, their skins, and the light.

    Attributes:
        solids: What rays may hit; where they hit nothing there is sky.
        skins: What the solids' numbers refer to.
        atlas: The tiles of the skins.
        sky_tile: The tile of the sky.
        to_sun: Unit vector.
        ambient: Share of the light that comes from everywhere.
    """

    solids: tuple[Solid, ...]
    skins: tuple[Skin, ...]
    atlas: Atlas
    sky_tile: int
    to_sun: Float[ndarray, "3"]
    ambient: float


def shade(world: World, rays: Rays, hits: Hits) -> Float32[ndarray, "row col 3"]:
    """Return the sRGB colour of each ray."""
    tables = _Tables.of(world, rays)
    color = np.empty((rays.rows, rays.cols, 3), dtype=np.float32)
    strip = max(1, _STRIP_RAYS // rays.cols)
    for top in range(0, rays.rows, strip):
        window = (slice(top, top + strip), slice(0, rays.cols))
        part = Hits(hits.z_depth[window], hits.solid[window])
        color[window] = _shade_strip(world, tables, part, rays.directions(np.eye(3), window))
    return color


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """What is looked up per ray: properties of solids, the camera in their axes, properties of skins."""

    axes: Float32[ndarray, "solid 3 3"]
    half_size: Float32[ndarray, "solid 3"]
    eye: Float32[ndarray, "solid 3"]
    kind: Int[ndarray, " solid"]
    skin: Int[ndarray, "solid 6"]
    skins: dict[str, ndarray]
    reliefs: dict[int, tuple[ndarray, ndarray]]
    pixel: np.float32

    @classmethod
    def of(cls, world: World, rays: Rays) -> "_Tables":
        solids = world.solids
        eyes = [solid.axes @ (rays.origin - solid.center) for solid in solids]
        return cls(
            axes=np.stack([solid.axes for solid in solids]).astype(np.float32),
            half_size=np.stack([solid.half_size for solid in solids]).astype(np.float32),
            eye=np.stack(eyes).astype(np.float32),
            kind=np.array([int(solid.kind) for solid in solids]),
            skin=np.array([solid.skins for solid in solids]),
            skins=skin_table(world.skins),
            reliefs={number: _rises(solid) for number, solid in enumerate(solids) if solid.kind == Kind.RELIEF},
            pixel=np.float32(1 / (rays.samples * rays.K[0, 0])),
        )


def _rises(solid: Solid) -> tuple[ndarray, ndarray]:
    """Slopes of a relief along its two level axes."""
    field = np.zeros((2, 2), dtype=np.float32) if solid.field is None else solid.field
    rows, cols = field.shape
    half = solid.half_size
    along_y, along_x = np.gradient(field * half[2], 2 * half[1] / rows, 2 * half[0] / cols)
    return np.ascontiguousarray(along_x, dtype=np.float32), np.ascontiguousarray(along_y, dtype=np.float32)


def _shade_strip(world: World, tables: _Tables, hits: Hits, direction: ndarray) -> ndarray:
    is_sky = hits.solid < 0
    if is_sky.all():
        return _sky(world, direction, 0.0).clip(0, 1)
    number = np.maximum(hits.solid, 0)
    t = np.where(is_sky, np.float32(1), hits.z_depth)
    axes, half, kind = tables.axes[number], tables.half_size[number], tables.kind[number]
    d_local = np.einsum("rcij,jrc->rci", axes, direction)
    local = tables.eye[number] + t[..., None] * d_local
    unit = local / half
    face = _faces(unit, kind)
    normal = _normals(unit, half, kind, face // 2)
    for index, rises in tables.reliefs.items():
        _tilt(normal, unit, rises, number == index)
    # Normals face the viewer: hollows are seen from inside, cards from both sides.
    slope = (normal * d_local).sum(-1)
    normal *= np.where(slope > 0, np.float32(-1), np.float32(1))[..., None]
    length = np.sqrt((d_local * d_local).sum(-1))
    cosine = (np.abs(slope) / length).clip(0.05, 1)

    skin = tables.skin[number, face]
    table = {name: column[skin] for name, column in tables.skins.items()}
    # World units per sample, the geometric mean over the two directions of the stretched footprint.
    spacing = t * length * tables.pixel / np.sqrt(cosine)
    color = _albedo(world, table, _surface_coordinates(local, half, kind, face), spacing, face)
    n_world = np.einsum("rcij,rci->rcj", axes, normal)
    lit = _lit(world, table, color, n_world, direction.transpose(1, 2, 0) / length[..., None])
    if is_sky.any():
        lit = np.where(is_sky[..., None], _sky(world, direction, 0.0), lit)
    return lit.clip(0, 1)


def _normals(unit: ndarray, half: ndarray, kind: ndarray, axis: ndarray) -> ndarray:
    """Outward normals in local axes; of a relief, straight up."""
    flat = _AXES[axis] * np.sign(unit)
    is_curved = (kind == Kind.BALL) | ((kind == Kind.TUBE) & (axis != 2))
    radial = unit / half
    radial[..., 2] *= kind != Kind.TUBE
    radial /= np.sqrt((radial * radial).sum(-1, keepdims=True)).clip(1e-9)
    normal = np.where(is_curved[..., None], radial, flat)
    is_level = (kind == Kind.CARD) | (kind == Kind.RELIEF)
    outward: ndarray = np.where(is_level[..., None], _AXES[2], normal)
    return outward


def _tilt(normal: ndarray, unit: ndarray, rises: tuple[ndarray, ndarray], where: ndarray) -> None:
    """Write the normals of a relief."""
    if where.any():
        x, y = np.ascontiguousarray(unit[..., 0]), np.ascontiguousarray(unit[..., 1])
        tilted = np.stack([-field_at(rises[0], x, y), -field_at(rises[1], x, y), np.ones_like(x)], axis=-1)
        tilted /= np.sqrt((tilted * tilted).sum(-1, keepdims=True))
        normal[where] = tilted[where]


def _faces(unit: ndarray, kind: ndarray) -> ndarray:
    """Face (−x, +x, −y, +y, −z, +z) of each point; a tube has faces 1 around, 4 and 5 at the ends."""
    size = np.abs(unit)
    radial = np.sqrt(unit[..., 0] ** 2 + unit[..., 1] ** 2)
    is_tube = kind == Kind.TUBE
    axis = np.where(is_tube, np.where(size[..., 2] > radial, 2, 0), size.argmax(-1))
    axis = np.where((kind == Kind.CARD) | (kind == Kind.RELIEF), 2, axis)
    positive = np.take_along_axis(unit, axis[..., None], -1)[..., 0] > 0
    face: ndarray = 2 * axis + (positive | (is_tube & (axis == 0)) | (kind == Kind.RELIEF) | (kind == Kind.CARD))
    return face


def _surface_coordinates(local: ndarray, half: ndarray, kind: ndarray, face: ndarray) -> ndarray:
    """Two lengths along the surface: the other two axes of the face, or the way around a tube."""
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    axis = face // 2
    u, v = np.where(axis == 0, y, x), np.where(axis == 2, y, z)
    around = np.arctan2(y, x) * half[..., 0]
    u = np.where((kind == Kind.TUBE) & (axis == 0), around, u)
    return np.stack([u, v])


def _albedo(world: World, table: dict[str, ndarray], uv: ndarray, spacing: ndarray, face: ndarray) -> ndarray:
    """Tile, finer detail and tint; each face starts elsewhere in the tile."""
    cos, sin = np.cos(table["turn"]), np.sin(table["turn"])
    number = face.astype(np.float32)
    s = (cos * uv[0] + sin * uv[1]) / table["length"] + table["shift"][..., 0] + 0.37 * number
    t = (cos * uv[1] - sin * uv[0]) / table["length"] + table["shift"][..., 1] + 0.61 * number
    st = np.stack([s, t])
    level = np.log2((spacing / table["length"] * TILE_PX).clip(1e-6))
    mean = world.atlas.means[table["tile"]]
    color = world.atlas.read(table["tile"], st, level)
    color = color + table["flatness"][..., None] * (mean - color)
    fine = world.atlas.read(table["tile"], st * _DETAIL_RATIO, level + np.log2(_DETAIL_RATIO))
    color = color + table["detail"][..., None] * (fine - mean)
    painted: ndarray = color * table["tint"]
    return painted


def _lit(world: World, table: dict[str, ndarray], color: ndarray, normal: ndarray, toward: ndarray) -> ndarray:
    sun = world.to_sun.astype(np.float32)
    # Half Lambert: light wraps around, as under a bright sky, and nothing is black.
    wrapped = (0.5 + 0.5 * (normal @ sun)) ** 1.5
    lit = color * (world.ambient + (1 - world.ambient) * wrapped)[..., None] * 1.15
    halfway = sun - toward
    halfway = halfway / np.sqrt((halfway * halfway).sum(-1, keepdims=True)).clip(1e-6)
    shine = (normal * halfway).sum(-1).clip(0, 1) ** table["sharpness"]
    lit = lit + (table["gloss"] * shine)[..., None]
    if table["mirror"].max() > 0:
        bounced = toward - 2 * (toward * normal).sum(-1, keepdims=True) * normal
        around = _sky(world, bounced.transpose(2, 0, 1), _REFLECTION_LEVEL)
        lit = lit + table["mirror"][..., None] * (around - lit)
    shaded: ndarray = lit
    return shaded


def _sky(world: World, direction: ndarray, level: float) -> ndarray:
    """The sky's tile along longitude and latitude, mirrored in the north and at the date line."""
    x, y, z = direction
    length = np.sqrt(x * x + y * y + z * z)
    st = np.stack(
        [np.arctan2(y, x) * np.float32(1 / np.pi), np.arccos((z / length).clip(-1, 1)) * np.float32(1 / np.pi)]
    )
    tile = np.full(x.shape, world.sky_tile, dtype=np.int32)
    return world.atlas.read(tile, st.astype(np.float32), np.full(x.shape, level, dtype=np.float32))
