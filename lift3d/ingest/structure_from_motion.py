"""Where photographs were taken from: COLMAP's incremental structure from motion, on the CPU, with fixed seeds.

Schönberger & Frahm, Structure-from-Motion Revisited, CVPR 2016. The same photographs give the same model, whatever the
number of threads: features and matches of an image or pair depend on nothing else, and mapping runs on one thread.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from lift3d.errors import ConfigError, SceneFormatError
from lift3d.ingest.photographs import Photograph, Report
from lift3d.ingest.similar_photographs import likely_pairs
from lift3d.scenes.colmap_log import pycolmap, quiet_colmap

MatchingPairs = Literal["exhaustive", "similar", "sequential"]
Count = Callable[[pycolmap.Database], int]

# Two views tell nothing that a third one could confirm, and lifting needs sources beside the target.
FEWEST_VIEWS = 3
# One focal length and one coefficient, as COLMAP itself chooses: more are not determined by a few dozen photographs.
LENS_MODEL = "SIMPLE_RADIAL"
# Below this share of registered photographs it is worth several times the effort to look more thoroughly: a blurred one
# in ten is usual, and no features help there.
ENOUGH_SHARE = 0.9
_SEED = 0
_POLL_S = 0.5
# All pairs of so many images by so many are written, and thereby reported, at once; COLMAP's own 50 is silent for long.
_BLOCK_SIZE = 8
_COLMAP_ERRORS = (RuntimeError, ValueError, OSError, MemoryError)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How photographs become a scene.

    Attributes:
        matching: Which pairs are compared: exhaustive, all; similar, each with the 16 that look most alike and the next
            two by name; sequential, neighbours in the order of names (the ten next, and those 2, 4, 8 … further); auto,
            sequential for videos, and similar where that finds few; similar for more than 40 photographs.
        frames: Frames that are taken of a video; None, as of photographs: all.
        image_size: Longest side at which photographs are compared, pixels.
        has_one_camera: Whether one lens took all photographs of one size and focal length.
    """

    matching: str = "auto"
    frames: int | None = 150
    image_size: int = 1600
    has_one_camera: bool = True

    def __post_init__(self) -> None:
        if self.matching not in ("auto", *get_args(MatchingPairs)):
            raise ConfigError(f"Matching is '{self.matching}'; expected auto or {', '.join(get_args(MatchingPairs))}.")
        # Below 100 pixels a picture has next to no features; three views are the fewest that confirm one another.
        if (self.frames is not None and self.frames < FEWEST_VIEWS) or self.image_size < 100:
            raise ConfigError(
                f"Got --frames {self.frames} and --image-size {self.image_size}; at least {FEWEST_VIEWS} frames and "
                "100 pixels are needed."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What structure from motion found: groups of views with cameras, the one with the most views first, or none.

    ``is_thorough`` says whether it took the dearer features, ``matching`` which pairs were compared.
    """

    models: tuple[pycolmap.Reconstruction, ...]
    is_thorough: bool
    matching: MatchingPairs

    @property
    def view_count(self) -> int:
        """Views of the first model."""
        return int(self.models[0].num_reg_images()) if self.models else 0


def reconstruct(
    photographs: Sequence[Photograph],
    images: Path,
    work: Path,
    options: IngestOptions,
    matching: Sequence[MatchingPairs],
    report: Report,
) -> Found:
    """Find the cameras of the photographs in a folder; where few are found, look once more with dearer features.

    These bear wider baselines. ``work`` is an empty folder; ``matching`` has the pairs of the first look and of the
    second; the stages that are reported are features, matches (pairs) and views (registered), of the second look
    features-again and so on.
    """
    found = Found((), is_thorough=False, matching=matching[0])
    for is_thorough, pairs in zip((False, True), matching, strict=True):
        folder = work / ("thorough" if is_thorough else "quick")
        folder.mkdir()
        told = _again(report) if is_thorough else report
        given = replace(options, matching=pairs)
        models = _attempt(photographs, images, folder, given, told, is_thorough=is_thorough)
        ordered = sorted(models, key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
        attempt = Found(tuple(ordered), is_thorough, pairs)
        if attempt.view_count > found.view_count:
            found = attempt
        if found.view_count >= ENOUGH_SHARE * len(photographs):
            break
    return found


def _again(report: Report) -> Report:
    """Return what tells the stages of a second look as stages of their own."""
    return lambda stage, done, total: report(f"{stage}-again", done, total)


def _attempt(
    photographs: Sequence[Photograph],
    images: Path,
    work: Path,
    given: IngestOptions,
    report: Report,
    *,
    is_thorough: bool,
) -> list[pycolmap.Reconstruction]:
    database = work / "database.db"
    with quiet_colmap():
        try:
            with pycolmap.Database.open(str(database)):
                pass
            # Before features, since threads would number the images in the order in which they finish.
            _import(photographs, images, database, given)
            options = pycolmap.FeatureExtractionOptions()
            options.max_image_size = given.image_size
            # Mikolajczyk & Schmid, IJCV 2004; Dong & Soatto, CVPR 2015: several times the time.
            options.sift.estimate_affine_shape = options.sift.domain_size_pooling = is_thorough
            _extract([one.name for one in photographs], images, database, options, report)
            _match(len(photographs), database, work, given, report)
            return _map(len(photographs), images, database, work / "models", report)
        except _COLMAP_ERRORS as error:
            raise SceneFormatError(
                f"Structure from motion failed ({error}). Is there room on the disk and in memory? A smaller "
                "--image-size needs less of both."
            ) from error


def _import(photographs: Sequence[Photograph], images: Path, database: Path, given: IngestOptions) -> None:
    """Enter the images with their cameras: one for each size and focal length, or one for each image."""
    lenses: dict[tuple[int, int, int], list[Photograph]] = {}
    for one in photographs:
        lens = (one.size.height, one.size.width, round(one.focal_px or 0))
        lenses.setdefault(lens, []).append(one)
    mode = pycolmap.CameraMode.SINGLE if given.has_one_camera else pycolmap.CameraMode.PER_IMAGE
    for (height, width, focal_px), members in lenses.items():
        options = pycolmap.ImageReaderOptions()
        options.camera_model = LENS_MODEL
        if focal_px:
            options.camera_params = f"{focal_px},{width / 2},{height / 2},0"
        pycolmap.import_images(database, images, mode, [one.name for one in members], options)


def _extract(
    names: list[str], images: Path, database: Path, options: pycolmap.FeatureExtractionOptions, report: Report
) -> None:
    options.use_gpu = False
    how = {"extraction_options": options, "device": pycolmap.Device.cpu}
    extract = partial(pycolmap.extract_features, database, images, names, **how)

    def count(opened: pycolmap.Database) -> int:
        return sum(opened.exists_keypoints(key) for key in range(1, len(names) + 1))

    _watch(extract, database, ("features", len(names)), count, report)


def _match(image_count: int, database: Path, work: Path, given: IngestOptions, report: Report) -> None:
    options = pycolmap.FeatureMatchingOptions()
    options.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = _SEED
    how = {"verification_options": verification, "device": pycolmap.Device.cpu}
    pairing = pycolmap.SequentialPairingOptions()
    pair_count = image_count * (image_count - 1) // 2
    if given.matching == "sequential":
        with pycolmap.Database.open(str(database)) as opened:
            pair_count = len(pycolmap.SequentialPairGenerator(pairing, opened).all_pairs())
        match = partial(pycolmap.match_sequential, database, options, pairing, **how)
    elif given.matching == "similar":
        with pycolmap.Database.open(str(database)) as opened:
            described = (opened.read_descriptors(key).data.reshape(-1, 128) for key in range(1, image_count + 1))
            likely = likely_pairs(described)
        listed = pycolmap.ImportedPairingOptions()
        listed.match_list_path, listed.block_size = work / "pairs.txt", _BLOCK_SIZE**2
        listed.match_list_path.write_text("".join(f"{a + 1} {b + 1}\n" for a, b in likely), encoding="ascii")
        pair_count = len(likely)
        match = partial(_with_numbers_for_names, database, partial(pycolmap.match_image_pairs, **how), options, listed)
    else:
        pairs = pycolmap.ExhaustivePairingOptions()
        pairs.block_size = _BLOCK_SIZE
        match = partial(pycolmap.match_exhaustive, database, options, pairs, **how)
    _watch(match, database, ("matches", pair_count), pycolmap.Database.num_matched_image_pairs, report)


def _with_numbers_for_names(database: Path, match: Callable[..., None], *given: object, **more: object) -> None:
    """Match while images are named by their ids: COLMAP's list of pairs has no place for names with spaces."""
    with pycolmap.Database.open(str(database)) as opened:
        images = opened.read_all_images()
    try:
        _rename(database, {image.image_id: str(image.image_id) for image in images})
        match(database, *given, **more)
    finally:
        _rename(database, {image.image_id: image.name for image in images})


def _rename(database: Path, names: Mapping[int, str]) -> None:
    with pycolmap.Database.open(str(database)) as opened, pycolmap.DatabaseTransaction(opened):
        for key, name in names.items():
            image = opened.read_image(key)
            image.name = name
            opened.update_image(image)


def _map(image_count: int, images: Path, database: Path, models: Path, report: Report) -> list[pycolmap.Reconstruction]:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = _SEED
    # Sums over threads depend on their order.
    options.num_threads = 1
    options.min_model_size = FEWEST_VIEWS
    registered = 0

    def tell(count: int) -> None:
        nonlocal registered
        registered = count
        report("views", registered, image_count)

    models.mkdir()
    tell(0)
    found = pycolmap.incremental_mapping(
        *(database, images, models, options),
        initial_image_pair_callback=lambda: tell(2),
        next_image_callback=lambda: tell(registered + 1),
    )
    return list(found.values())


def _watch(call: Callable[..., None], database: Path, what: tuple[str, int], count: Count, report: Report) -> None:
    """Run a call that fills the database, and report how far it is; an interruption stops the call."""
    stage, total = what
    token = pycolmap.CancellationToken()
    # Through COLMAP: a second copy of SQLite in one process, such as Python's, takes locks away from the first.
    with pycolmap.Database.open(str(database)) as opened, ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(call, cancellation_token=token)
        try:
            while not wait([future], timeout=_POLL_S).done:
                report(stage, min(count(opened), total), total)
        except BaseException:
            token.cancel()
            raise
    future.result()
    report(stage, total, total)
