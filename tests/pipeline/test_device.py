"""Where a worker computes is decided once, and a device that is not there is one clear error."""

import pytest
import torch

from lift3d.config import Execution
from lift3d.errors import ConfigError, SceneError
from lift3d.pipeline import device as devices
from lift3d.pipeline.device import HOST, named_device, on_host, worker_device
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.storage.location import open_store
from tests.support.counting_device import DEVICE, counting_device
from tests.support.operators import IdentityOperator
from tests.support.scenes import textured_plane_scene


def execution(**fields):
    return Execution(store="memory://nowhere", **fields)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_auto_is_a_gpu_that_the_worker_has():
    assert worker_device(execution()).type == "cuda"
    assert worker_device(execution(workers=2)).type == "cpu"
    assert worker_device(execution(workers=2, gpus_per_worker=0.5)).type == "cuda"
    assert worker_device(execution(device="cuda:1")) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"'cuda:2' was asked for.*sees 2 CUDA devices: they are cuda:0 to cuda:1"):
        named_device("cuda:2")


def test_a_gpu_that_is_not_there_is_said_with_its_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker_device(execution()) == HOST
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigError, match=r"'cuda' was asked for.*sees 0.*built without CUDA.*--device cpu"):
        worker_device(execution(device="cuda"))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES hides all"):
        named_device("cuda")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(torch.cuda, "current_device", too_old)
    with pytest.raises(ConfigError, match=r"driver on your system is too old \(found version 11040\)\. Mend that"):
        named_device("cuda")


def test_what_is_made_anew_lies_on_the_device_and_on_the_host_where_that_is_said():
    with counting_device(), devices.computing_on(DEVICE):
        assert torch.zeros(2).device == DEVICE
        with on_host():
            assert torch.zeros(2).device == HOST
    assert torch.zeros(2).device == HOST


class Hungry(IdentityOperator):
    """Takes so many images at once and no more, as a GPU of little memory does."""

    def __init__(self, most):
        self.most, self.tried = most, []

    def encode(self, image):
        return self.encode_batch(image[None])[0]

    def encode_batch(self, images):
        self.tried.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")
        return [super(Hungry, self).encode(image) for image in images]


def encoded(operator, view_count=8):
    store = open_store(f"memory://batches-{operator.most}", create=True)
    inputs = SceneInputs(textured_plane_scene(view_count), store, 24)
    with counting_device(), devices.computing_on(DEVICE):
        names = [*inputs.views]
        stored = {}
        inputs.encode(operator, names, quiet)
        for name in names:
            stored[name] = inputs.features(operator, name)[0].values.cpu()
        assert inputs.computed["features"] == view_count
    return stored, inputs


@pytest.mark.fault(13, "a batch of views beyond the memory of the device")
def test_batches_are_halved_until_they_fit_and_stay_so():
    operator = Hungry(3)
    found, inputs = encoded(operator)
    assert operator.tried == [8, 4, 2, 2, 2, 2]
    for name, values in found.items():
        assert torch.equal(values, inputs.views[name].load(24).image.half().float())


def test_one_view_that_does_not_fit_is_the_scenes_own_error():
    with pytest.raises(
        SceneError, match=r"memory of privateuseone:0 with one view of 24×32: CUDA out of .* GiB\. Lower"
    ):
        encoded(Hungry(0))


def test_the_host_encodes_one_view_after_the_other():
    operator = Hungry(3)
    inputs = SceneInputs(textured_plane_scene(4), open_store("memory://one", create=True), 24)
    inputs.encode(operator, [*inputs.views], quiet)
    assert operator.tried == [1] * 4


def test_networks_that_find_no_room_are_one_clear_error():
    class Large(Hungry):
        def to(self, device):
            raise torch.OutOfMemoryError("CUDA out of memory. Process 7 has 79 GiB in use.\nSee the documentation.")

    with pytest.raises(ConfigError, match=r"left on cpu: CUDA out of .* in use\. Free it of other processes"):
        Models((Large(1),), (), ())


def test_a_device_that_is_none_is_refused_in_words():
    with pytest.raises(ConfigError, match="There is no device 'gpu'; expected auto, cpu, cuda"):
        named_device("gpu")
