import numpy as np

from lift3d.results.evidence.same_spots import SPOTS, VIEWS, same_spots
from lift3d.results.evidence.sightings import sightings_of


def test_spots_are_one_place_of_the_true_surface_in_every_view_that_is_chosen(room_run):
    lifted = room_run["rgb"]
    found = same_spots(lifted, sightings_of(lifted))
    assert (len(set(found.views)), found.uv.shape) == (VIEWS, (VIEWS, SPOTS, 2))
    assert list(found.views) == sorted(found.views, key=lifted.targets.index)
    places = []
    for view, uv in zip(found.views, found.uv, strict=True):
        frame = lifted.scene.view(view).load(48)
        pixels = (uv * [frame.camera.size.width, frame.camera.size.height]).astype(int)
        z = frame.z_depth.numpy()[pixels[:, 1], pixels[:, 0]]
        rays = np.linalg.inv(frame.camera.K.numpy()) @ np.c_[uv * [64, 48], np.ones(SPOTS)].T
        places.append((frame.camera.c2w.numpy()[:3, :3] @ (rays * z)).T + frame.camera.center.numpy())
    apart = np.linalg.norm(places[0][:, None] - places[0][None], axis=2)[~np.eye(SPOTS, dtype=bool)].min()
    assert np.linalg.norm(np.array(places) - places[0], axis=2).max() < 0.15 * apart
