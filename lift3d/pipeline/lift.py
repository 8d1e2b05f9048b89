"""Lifting the targets of a scene: which products there are, and how the missing ones are made."""

from collections.abc import Mapping, Sequence
from functools import partial

from lift3d.config import Recipe
from lift3d.domain.features import SceneState
from lift3d.domain.keys import digest
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.shard import Shard
from lift3d.domain.target import Target
from lift3d.lifters.protocol import Lifter
from lift3d.overlap import behind
from lift3d.pipeline.digests import STAGE_VERSIONS, lifted_digest, plain_digest, state_digest
from lift3d.pipeline.features import made_by
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.lifting import Lifting
from lift3d.pipeline.models import Models
from lift3d.pipeline.products import (
    VIEWS_PER_PART,
    PartOfViews,
    commit_lifted,
    write_lifted_part,
    writer_of,
)
from lift3d.pipeline.quantities import missing_of
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import Product, products_in


def plan_products(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    states: Mapping[str, SceneState],
    targets: Sequence[Target],
    surface: str = "",
) -> dict[LiftedProduct, Sequence[str]]:
    """Return every product of lifted views that the recipe wants of this scene, raw2d first for each operator.

    With each come the digests of its parts: where one of them is the same, its views are. ``surface`` is the path of
    the scene's surface, if a lifter reads it.
    """
    scene, parts = inputs.scene, _parts(targets)
    words = f"{recipe.protocol}-{max(target.camera.size.height for target in targets)}px"
    wanted: list[Lifter | None] = [*([] if recipe.targets else [None]), *models.lifters]
    products: dict[LiftedProduct, Sequence[str]] = {}
    for operator in models.operators:
        spec, state = operator.spec, state_digest(states[operator.spec.name])
        reason = missing_of(spec.quantity, states[spec.name])
        for lifter in wanted:
            if lifter is None:
                keys = [plain_digest(spec, state, part, inputs.digests) for part in parts]
            else:
                own, geometry = lifter.spec, surface if lifter.spec.is_anchored else scene.depth_range
                keys = [lifted_digest(spec, own, state, recipe, part, inputs.digests, geometry) for part in parts]
            name = RAW2D if lifter is None else lifter.spec.name
            whole = digest(keys)
            product = LiftedProduct(spec.name, name, "", (), reason)
            if not reason:
                path = layout.lifted_path(scene.id, spec.name, name, words, whole)
                product = LiftedProduct(spec.name, name, whole, (path,))
            products[product] = keys
    return products


def _parts(targets: Sequence[Target]) -> list[Sequence[Target]]:
    return [targets[start : start + VIEWS_PER_PART] for start in range(0, len(targets), VIEWS_PER_PART)]


def lift_scene(
    inputs: SceneInputs,
    recipe: Recipe,
    work: Lifting,
    targets: Sequence[Target],
    products: Mapping[LiftedProduct, Sequence[str]],
    report: Report,
    shard: Shard | None = None,
) -> None:
    """Lift every part of the targets that no product has yet, or those that belong to a shard; commit what is whole."""
    cameras = {target.id: target.camera for target in targets}
    sizes = {camera.size for camera in cameras.values()}
    writers = {
        product: writer_of(inputs.store, path, len(targets), is_shared=shard is not None)
        for product in products
        for path in product.parts
        if committed(inputs.store, path) is None
    }
    # Parts fit into another product only if its arrays have the same room.
    room = [STAGE_VERSIONS["arrays"], *sorted(map(repr, sizes))]
    keys = {product: [digest([key, room]) for key in products[product]] for product in writers}
    older = {product: _older_parts(inputs.store, product) for product in writers if len(keys[product]) > 1}
    parts = _parts(targets)

    def commit_if_whole(product: LiftedProduct) -> None:
        if all(writers[product].part(number) is not None for number in range(len(parts))):
            commit_lifted(writers.pop(product), cameras, _attributes(inputs, recipe, product, work))

    # Packed and written by one other thread, in the order in which it is lifted.
    with behind() as do:
        for number, part in enumerate(parts):
            if shard is not None and not shard.takes(number):
                continue
            missing = []
            for product, writer in writers.items():
                known = older.get(product, {}).get(keys[product][number])
                if writer.part(number) is None and known is not None:
                    do(partial(writer.copy_part, number, len(targets), *known))
                elif writer.part(number) is None:
                    missing.append(product)
            for share, whole in work.lift_part(part, missing):
                report("lift", int(number * VIEWS_PER_PART + share * len(part)), len(targets))
                for product, outcomes in whole.items():
                    write_lifted_part(
                        PartOfViews(writers[product], number, len(targets), keys[product][number], do),
                        outcomes,
                        sizes,
                        work.grids_of(product.operator),
                        is_plain=product.is_plain,
                    )
                    inputs.computed["lifted"] += 1
                    if shard is None and number == len(parts) - 1:
                        # One after the other: what is committed outlives this process.
                        do(partial(commit_if_whole, product))
    for product in [*writers]:
        commit_if_whole(product)


def _older_parts(store: Store, product: LiftedProduct) -> dict[str, tuple[Product, int]]:
    """Return the parts of what was lifted before of an operator by a lifter, by their digest."""
    (path,) = product.parts
    older = products_in(store, path.rpartition("/")[0])
    return {
        note["key"]: (product, number)
        for product in older
        for number, note in enumerate(product.notes)
        if isinstance(note, dict) and isinstance(note.get("key"), str)
    }


def _attributes(inputs: SceneInputs, recipe: Recipe, product: LiftedProduct, work: Lifting) -> dict[str, object]:
    spec = work.spec_of(product.operator)
    return {
        "what": "Answers of a 2D model lifted to each target view: features, how well they are covered, and what the "
        "model's decoder makes of them; the lifter raw2d is the plain 2D answer on the true image",
        "scene": inputs.scene.id,
        "operator": product.operator,
        "operator_identity": spec.identity,
        "quantity": spec.quantity,
        "label_names": list(spec.label_names),
        "lifter": product.lifter,
        "protocol": recipe.protocol,
        "image_height_px": recipe.image_height,
        "run": recipe.run_id,
        "digest": product.digest,
        **made_by(),
    }
