"""The parts of ``lift3d bench systems``, and what is said of each beside its figures."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from lift3d.bench.kept_figures import keep
from lift3d.bench.systems.row import SystemRow
from lift3d.errors import UnknownNameError
from lift3d.storage.location import open_store


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of system.

    Attributes:
        systems: Those of the field that do it.
        brief: What it is here, in a phrase.
        does: What is done and measured, some sentences, in Markdown.
        lacks: Plainly what is not.
        published: What those systems publish, with the protocol; not measured here.
        module: What measures it: ``measure(asked: Asked) -> list[SystemRow]``, and SCENES, measured if none are named.
    """

    systems: str
    brief: str
    published: str
    lacks: str
    does: str
    module: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a part is to measure: a scene, by which 2D models (its own choice if none), in the store at a URL."""

    scene: str
    operators: tuple[str, ...]
    plugins: tuple[str, ...]
    store: str

    @property
    def command(self) -> str:
        """What measures it again, but for the part's name, with folders of captures as CAPTURES."""
        place = f"CAPTURES/{Path(self.scene).name}" if Path(self.scene).is_dir() else quote(self.scene)
        # Operators may read files that lie with the capture.
        around = f"{Path(self.scene).parent}/" if Path(self.scene).is_dir() else ""
        named = [one.replace(around, "CAPTURES/") if around else one for one in self.operators]
        listed = [f"--operator {quote(one)}" for one in named] + [f"--plugin {one}" for one in self.plugins]
        return " ".join([place, *listed])


PARTS: dict[str, Part] = {
    "generators": Part(
        "CAT3D, See3D, InstructNeRF-style editors, Sora-like generators",
        "pictures that a generator or an editor made of each view by itself, by chance, made one scene again",
        "none on these scenes; they train a field per scene, or a network on many scenes",
        "views that nobody photographed are not invented; a generator that moves things gives no one surface to agree "
        "on",
        "What a black box makes of each view by another seed is written into files, read by `files:FOLDER?kind=image` "
        "and lifted. `editor` warms colours, by another amount in every view, and turns them by chance; of other "
        "operators the photograph that they are shown is exposed by chance, with noise. `left`: of their disagreement "
        "after the warp's own floor, as on the page of consistency (every view is one of its own sources, every eighth "
        "a target). Without chance: what it says of the same view if its seed is fixed.",
        "lift3d.bench.systems.generators",
    ),
    "meshes": Part(
        "MonoSDF, Omnidata, Marigold, DepthAnything, Metric3D",
        "what stereo cannot match is filled by a network's depth, placed in every view, and by planes; a mesh of all",
        "ScanNet, 5 cm (MonoSDF's protocol): COLMAP .537, MonoSDF .733; IVGT .647 (third party). DA3 with poses and a "
        "TSDF: 7Scenes .564, ScanNet++ .805",
        "signed distances that are optimised per scene, normals of a network, and its depth without any texture to "
        "place it by",
        "Stereo without training (`sweep`) keeps what has texture; elsewhere a network's depth, placed by scale and "
        "shift and moved to meet stereo at its borders, and voted on by all views; then planes, aligned until the "
        "photographs agree with them best (`planar?prior=…`). A network that tells hidden squares of the views no "
        "better than their surroundings do changes nothing, nor does a plane with which photographs do not agree much "
        "better than with what it would replace: both is so on the kitchen. F-score at 5 cm of "
        "the exported mesh, points 1 cm apart, of what views see. `true depth` is the same mesh from true depth: 1 by "
        "construction where the reference is a sensor's own. `tiny:depth` was trained on computed scenes of other "
        "seeds, all with texture on their walls; these have none.",
        "lift3d.bench.systems.meshes",
    ),
    "sparse": Part(
        "CoherentGS, SGD, street scenes",
        "views from between three, six or nine photographs; coverage is told, and what is in doubt",
        "none on these scenes; they train splats per scene",
        "what no photograph shows is not invented: it is a hole, filled with the nearest colour; no diffusion model",
        "Of twice as many views, spaced evenly where cameras look within 60° of the first, every other one is kept "
        "back. PSNR is of all their pixels, holes as they were filled. `here` completes stereo by `tiny:depth` and "
        "planes (`planar?prior=tiny:depth`), `planes alone` by planes. In doubt are places of less confidence than a "
        "half, as every export has it. A tie is where neither the network nor planes were believed: stereo stays.",
        "lift3d.bench.systems.sparse",
    ),
    "moments": Part(
        "Talk3D, CAT4D, video",
        "moments of a rig of cameras that stand still, each a scene, all with what stands still in common",
        "none on these scenes; they generate videos, or train a field over time",
        "how a thing moves: nothing follows it from moment to moment; cameras that move; views of new moments",
        "A thing crosses a computed room before 4 cameras, at 8 moments. `moment:N:LOCATION` is the scene of one: its "
        "own views, and of the others what stands still. An editor recolours every view by chance, as under "
        "*generators*. Flicker: how far pixels that never move are from their mean over time, over that of each view's "
        "own pictures. `each moment alone` lifts its 4 views only.",
        "lift3d.bench.systems.moments",
    ),
    "queries": Part(
        "OpenScene, OpenMask3D, LERF",
        "words and clicks asked of the scene's points",
        "LERF-OVS mIoU: LangSplat 51.4 by rendered 2D maps, 9.7 by OpenGaussian's 3D protocol; OpenGaussian 38.4",
        "a vocabulary of its own (here 24 words of `tiny:clip`; CLIP's weights come through open_clip), LERF's scales, "
        "training per scene",
        "Words and clicks are asked of the points of the surface, which have the lifted features of a model that reads "
        "texts. What is found ends where the scene's own features change most: a threshold without labels, from LERF's "
        "relevancy of 0.5 on. `per view` is the same rule on each view's own 2D features, `even` the plain 0.5; `true "
        "masks` has the mean features of the true things. Localisation: the peak in a view is on the thing; IoU is "
        "over things and views, at the cells of the features. The model learned its words on computed scenes of other "
        "seeds.",
        "lift3d.bench.systems.queries",
    ),
    "splats": Part(
        "3DGS, LUDVIG, Occam's LGS, GaussianCube",
        "features, labels and colours per Gaussian of a file, in its order; objects cut out",
        "LUDVIG on LERF-OVS 2D, Occam's LGS 15 s a scene; none on these scenes",
        "training of splats; degrees of view-dependent colour beyond the file's own; 3D diffusion on them",
        "`labels that come back`: labels painted on the Gaussians are drawn at the three cameras, and given back by "
        "the same weights. `centres` reads each view where a Gaussian's centre falls, as Occam's LGS does. On computed "
        "scenes a Gaussian stands at each pixel of every fourth view. `cosine`: what every view's own 2D features, "
        "given back by weight (LUDVIG's estimator), have in common with what the surface says there. `labels right`: "
        "what most of the weight of each view's `tiny:segmenter` says, as `lift3d export --onto` has it, against the "
        "truth.",
        "lift3d.bench.systems.splats",
    ),
    "restoration": Part(
        "DerainNeRF",
        "spoiled places of photographs (masks) are read from the views that show them unspoiled",
        "DeRainGS on its own scenes 17.6 to 24.7 dB (third-party); no masks are given there",
        "finding what is spoiled (masks are given), blur, events (Ev-DeblurNeRF), training per scene",
        "Every view is spoiled by rain, or by drops that stick to the lens (`rain:seed=0&known=1:CAPTURE`, "
        "`droplets:…`), and what is under them is no valid pixel. `rgb` is lifted as by default, its surface found "
        "from the spoiled photographs. Judged under the masks alone, against the capture before. `as it came` is the "
        "spoiled pixel, `inpainted per view` OpenCV's Telea, `nearest view` copies the nearest view that sees the "
        "place unspoiled, at the lifted depth.",
        "lift3d.bench.systems.restoration",
    ),
    "masks": Part(
        "Segment3D, SAM3D, SAI3D, Felzenszwalb",
        "views' own 2D masks merged into masks of the surface, without classes",
        "class-agnostic masks on ScanNet++ val, AP/AP50/AP25: Segment3D 13.0/23.8/38.3, Mask3D 8.7/15.5/27.2, "
        "Felzenszwalb 5.8/11.6/27.2, SAM3D 3.9/9.3/22.1 (Segment3D, ECCV 2024)",
        "no network trained on 3D; SAM, whose weights cannot be had on these machines (its masks go in by `lift3d "
        "masks --masks FOLDER` or `lift3d.scene_masks(…, masks=…)`); parts beside wholes, for a point is in one mask",
        "2D masks whose ids mean nothing in another view are merged on points of the surface: fine pieces of it are "
        "joined, the surest pair first, by how far views have both in one mask, how the surface bends between them, "
        "and how their colours differ. Features give 2D masks as Felzenszwalb's regions of the photograph, joined "
        "where features are alike, at five levels. AP, AP50 and AP25 as ScanNet's script computes them (AP is the mean "
        "over IoU 0.5 to 0.9), all instances of one class, those below 100 points left out, on points with what the "
        "views' annotations say there; walls, floors, ceilings and background are no instances and count for nothing. "
        "PQ over the instances' points. Floors: the graph segmentation of Felzenszwalb on the points alone, at the "
        "best of four scales for rooms of other seeds; masks of single views; ids that grow from view to view. "
        "Ceilings: true 2D masks merged alike; pieces with their true instance. Views have 240 rows, those of computed "
        "rooms 144.",
        "lift3d.bench.systems.masks",
    ),
    "geometries": Part(
        "NICE-SLAM, ConvONet, SAP, KiloNeRF, UNISURF, VolSDF, MonoSDF, DUSt3R",
        "what they write, meshes, clouds, splats, depth maps and cameras, is read as the scene's surface and poses",
        "nothing on reading each other's files",
        "what they do: no field is optimised, no network reconstructs; OpenEXR, checkpoints and relative depth are not "
        "read",
        "A scene with depth is written as meshes of five formats, a cloud, splats (round, half a pixel wide) and "
        "three kinds of depth maps, and into four layouts of sequences (TUM, Replica, ScanNet, nerfstudio), and read "
        "again. `depth within 1 %`: the share of all cells with true depth, the least of the formats; unknown cells "
        "count as wrong. `stereo` is `sweep` on the photographs alone. Vertices stand at pixels, so that outlines of "
        "meshes and clouds lack half a pixel. On `shelf` the truth is a sensor's, whose views differ by 1 % among "
        "themselves. Then each is written with one fault: another unit, turned axes, poses that are world-to-camera, "
        "have OpenGL's axes or quaternions with their scalar first, distances along rays that are called z, and the "
        "other way. A fault is found if it is refused and the refusal names it and what to do. Files are held against "
        "depth of sensors and, again, against photographs alone; so are poses. Right files that are refused are false "
        "alarms, one of them with 2 % of noise in its depth.",
        "lift3d.bench.systems.geometries",
    ),
    "questions": Part(
        "SpatialVLM, SpatialRGPT",
        "questions of where things are, with answers measured on the surface",
        "how often models answer right, within ±25 % (SpatialRGPT-Bench), not how often their data is right; people "
        "found 57.6 % of a set from such a pipeline valid (third party: GRAID, 2025)",
        "a language model, questions of free space, names of things beyond what masks and words give",
        "The things of tables in computed rooms, known exactly: every length that is asked for is to be within 10 %, "
        "every relation right. Masks are those of `tiny:clip`, merged on the surface; scenes that end in `depth0` have "
        "the surface of stereo (`sweep`), others that of a sensor. `names given`: each mask is called what most of it "
        "is; `names by words`: what its features are most like among 25 words, and a wrong name makes a wrong answer. "
        "Floors: the same questions of every fourth view alone, its own 2D masks (or its true ones) on the depth that "
        "the surface has in it, refused by the same rules. Ceiling: true masks on the sensor's depth. `if none is "
        "refused` counts answers in doubt, too, where the name is not. What decides about doubts was set by the seeds "
        "3 and 4.",
        "lift3d.bench.systems.questions",
    ),
    "tracks": Part(
        "SpatialTracker, TAPIR, CoTracker, DELTA",
        "pixels followed through all views, with visibility, in the camera's frame and in the world",
        "TAPVid-3D, mean 3D-AJ: SpatialTracker .152, DELTA .183 (videos of moving things, cameras not given)",
        "things that move: the scene stands still, and its cameras are known; TAPVid-3D's own videos, which are not on "
        "these machines (its file format is written and read)",
        "A point is where the ray of its pixel meets the surface, and a view sees it unless its own depth lies before "
        "it. Grids over every sixth of 24 views are followed through all of them; the truth is traced. 3D-AJ, APD and "
        "occlusion accuracy as TAPVid-3D has them: thresholds of 1 to 16 pixels at the true depth of an image whose "
        "shorter side is 256, predicted points scaled by one median of the scene; `unscaled` takes them as they are, "
        "since cameras that are given fix the scale (where half of the places lie on a table and half on walls, a few "
        "points on the wrong one move the median by a hundredth, which is pixels). Pixel errors are of 256 pixels, "
        "too, at places visible in truth. `depth0`: depth is withheld, so that the surface is that of stereo "
        "(`sweep`). `optical flow` is chained from view to view (OpenCV's DIS), until there and back do not agree any "
        "more, and reads each view's own depth, of which the surface is made, where the point comes to be. `never "
        "hidden`: the points found here, visible wherever they are on the image.",
        "lift3d.bench.systems.tracks",
    ),
}


def measure(
    name: str, scenes: Sequence[str], operators: Sequence[str], plugins: Sequence[str], store: str
) -> list[SystemRow]:
    """Measure a part on scenes, its own if none are named, and keep its rows in the store."""
    if name not in PARTS:
        raise UnknownNameError.of("part of the bench of systems", name, PARTS)
    module = importlib.import_module(PARTS[name].module)
    opened, rows = open_store(store, create=True), []
    for scene in scenes or module.SCENES:
        asked = Asked(scene, tuple(operators), tuple(plugins), store)
        command, date = f"lift3d bench systems {name} {asked.command}", datetime.now(UTC).date().isoformat()
        for measured in module.measure(asked):
            row = replace(measured, command=command, date=date)
            keep(opened, "systems", (row.part, row.scene, row.metric), row)
            rows.append(row)
    return rows
