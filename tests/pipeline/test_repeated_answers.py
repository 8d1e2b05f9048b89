"""Answers that are what was lifted are stored once; where some parts differ, all have them."""

import uuid
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.lifted import LiftedFeatures, LiftedView, Prediction
from lift3d.pipeline.products import PartOfViews, commit_lifted, write_lifted_part, writer_of
from lift3d.pipeline.stored_views import read_lifted
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.support.store_content import require_whole

SIZE, PATH = ImageSize(4, 6), "scenes/s/lifted/rgb/near/leaf"
COUNT = 5


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    monkeypatch.setattr("lift3d.pipeline.products.VIEWS_PER_PART", 2)


def view(number):
    camera = Camera(torch.eye(3, dtype=torch.float64), torch.eye(4, dtype=torch.float64), SIZE)
    values = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(number)).half().float()
    seen = torch.full((4, 6), 0.5)
    lifted = LiftedFeatures(FeatureMap(values, FeatureGrid(4, 6, 1.0, 1.0)), seen, 2 * seen)
    return LiftedView(str(number), camera, (lifted,), Prediction("image", values, seen > 0), ("0",))


def stored(differing, is_shared):
    store = open_store(f"memory://{uuid.uuid4().hex}", create=True)
    views = [view(number) for number in range(COUNT)]
    for number in differing:
        other = replace(views[number].prediction, values=1 - views[number].prediction.values)
        views[number] = replace(views[number], prediction=other)
    writers = [writer_of(store, PATH, COUNT, is_shared=is_shared) for _ in range(3 if is_shared else 1)] * 3
    for number, writer in enumerate(writers[:3]):
        part = PartOfViews(writer, number, COUNT)
        write_lifted_part(part, views[2 * number : 2 * number + 2], {SIZE}, lambda size: ())
    commit_lifted(writers[-1], {one.target: one.camera for one in views}, {})
    return store, views


@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("differing", [[], [0], [4], [1, 2, 3]])
def test_answers_come_back_whichever_parts_repeat_what_was_lifted(differing, is_shared):
    store, views = stored(differing, is_shared)
    require_whole(store, PATH)
    product = open_product(store, PATH)
    assert ("prediction" in product.names) == bool(differing)
    assert product.attrs["prediction_is"] == ("prediction" if differing else "features_0")
    assert not [key for key in store.list(PATH) if "/parts/" in key]
    found = list(read_lifted(product))
    assert [one.target for one in found] == [one.target for one in views]
    for one, wanted in zip(found, views, strict=True):
        assert torch.equal(one.prediction.values, wanted.prediction.values.half().float())
        assert torch.equal(one.lifted[0].features.values, wanted.lifted[0].features.values)
