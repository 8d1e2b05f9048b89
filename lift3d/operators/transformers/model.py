"""Models of transformers that answer with maps: ``transformers:FOLDER_OR_REPOSITORY?revision=…&task=…&cuts=…``.

A folder is one that ``save_pretrained`` wrote. A repository OWNER/NAME of the hub must be in its cache, and revision
names the commit: branches move, and what a recipe says is what runs. Nothing is downloaded, no code of a repository is
run. ``weights=random`` (with seed) takes only the configuration: of the folder, of config=FILE for a model type, or
one that is built in (``transformers:segformer?weights=random``).

task, found from the configuration unless it fits several:
semantic-segmentation: labels. Scores of classes are lifted: the last layer of the heads is linear, so that this is to
lift what stands before it. Masks with classes (MaskFormer, Mask2Former) are joined into scores per class first.
depth-estimation: scalar. The answer is lifted, as depth where the model is known to be metric, else as disparity.
image-to-image: image. The last hidden map is lifted; images are reduced first by what the model enlarges by.
zero-shot-segmentation (CLIPSeg): prompts=a cup,a table. One prompt gives a scalar (0 to 1), several give labels.
mask-generation (SAM): embedding of the image encoder. Its masks answer prompts at places of one view; no place of a
view means anything in another, so masks are not lifted.
image-feature-extraction: embedding; the last hidden state.

cuts: other places (lift3d.operators.split.cuts), with commas between. quantity, input_size=HEIGHT,WIDTH,
allow_leaks=1: as ``split.model.SplitOptions`` says. Images are normalised as the preprocessor's file says, else by
ImageNet's mean and deviation (image-to-image: not at all); they are stretched to the next size that the model takes,
or to the only one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Quantity
from lift3d.operators.split.model import AS_IT_IS, SplitModel, SplitOptions
from lift3d.operators.transformers.tasks import MASK_CLASSIFIERS, READINGS
from lift3d.operators.transformers.weights import Source, library

_OPTIONS = (
    "revision", "task", "weights", "seed", "config", "cuts", "prompts", "quantity", "input_size", "allow_leaks",
    "allow_pickle",
)  # fmt: skip
_QUANTITIES: tuple[Quantity, ...] = ("invariant", "depth", "disparity", "label")
# Names of the auto classes of each task, and of the lists of architectures that they take.
_TASKS: dict[str, tuple[str, str]] = {
    "semantic-segmentation": ("AutoModelForSemanticSegmentation", "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES"),
    "depth-estimation": ("AutoModelForDepthEstimation", "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES"),
    "image-to-image": ("AutoModelForImageToImage", "MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES"),
    "mask-generation": ("AutoModelForMaskGeneration", "MODEL_FOR_MASK_GENERATION_MAPPING_NAMES"),
    "zero-shot-segmentation": ("CLIPSegForImageSegmentation", ""),
    "image-feature-extraction": ("AutoModel", "MODEL_MAPPING_NAMES"),
}
_FEATURES = "image-feature-extraction"
# Architectures that take one size only, or square ones: their own is then the one to give.
_OF_ONE_SIZE = ("dpt", "beit", "data2vec-vision", "sam", "sam_hq", "clipseg")


def build(name: OperatorName) -> SplitModel:
    """Build the operator ``transformers:FOLDER_OR_REPOSITORY``."""
    name.check(_OPTIONS, "FOLDER, OWNER/NAME?revision=COMMIT, or an architecture with weights=random")
    library()
    source = Source.of(name)
    task = _task(source)
    reading = READINGS[task](source, _model(source, task))
    options = _with_processor(source, task, reading.options)
    cuts = tuple(cut for cut in name.option("cuts", "").split(",") if cut)
    if cuts and options.quantity in ("depth", "disparity") and cuts != ("output",):
        # Inside a network depth is no longer a number that could be taken from one camera to another.
        options = replace(options, quantity="invariant")
    if name.option("quantity", ""):
        options = replace(options, quantity=_quantity(name))
    return SplitModel(reading.model, cuts or reading.cuts, name=str(name), options=options)


def _task(source: Source) -> str:
    """Return the task that a name asks for, or the only one that its configuration fits."""
    asked = source.name.option("task", "")
    if asked:
        if asked not in _TASKS:
            raise UnknownNameError.of("task of transformers", asked, _TASKS)
        return asked
    fitting = _fitting(source, tuple(getattr(source.config, "architectures", None) or ()))
    if len(fitting) != 1:
        raise ConfigError(
            f"Operator '{source.name}': a '{source.config.model_type}' fits {', '.join(fitting) or 'no task'}; say "
            f"which with task=, one of {', '.join(_TASKS)}."
        )
    return fitting[0]


def _fitting(source: Source, architectures: Sequence[str]) -> list[str]:
    """Return the tasks of the classes that a configuration names; without any, those that its type has."""
    kind, found = source.config.model_type, []
    for task, (auto_class, listed) in _TASKS.items():
        if task == _FEATURES:
            continue
        classes = {auto_class} if not listed else {_listed(listed).get(kind, "")}
        if task == "semantic-segmentation":
            classes.add(MASK_CLASSIFIERS.get(kind, ""))
        has_kind = kind == "clipseg" if not listed else classes != {""}
        if classes & set(architectures) or (not architectures and has_kind):
            found.append(task)
    return found or [_FEATURES]


def _listed(name: str) -> dict[str, Any]:
    lists = library().models.auto.modeling_auto
    return dict(getattr(lists, name))


def _model(source: Source, task: str) -> Any:
    auto_class, listed = _TASKS[task]
    kind = source.config.model_type
    if task == "semantic-segmentation":
        auto_class = MASK_CLASSIFIERS.get(kind, auto_class)
    if kind not in MASK_CLASSIFIERS and (kind not in _listed(listed) if listed else kind != "clipseg"):
        raise ConfigError(f"Operator '{source.name}': transformers has no {task} of a '{kind}'.")
    return source.build(getattr(library(), auto_class))


def _with_processor(source: Source, task: str, options: SplitOptions) -> SplitOptions:
    """Add what goes before the model: normalisation and order of colours, and its size if it takes one only."""
    name = source.name
    processing = source.preprocessing(AS_IT_IS) if task == "image-to-image" else source.preprocessing()
    size = None
    if name.option("input_size", ""):
        parts = name.option("input_size", "").split(",")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ConfigError(f"Operator '{name}': input_size takes HEIGHT,WIDTH, got '{','.join(parts)}'.")
        size = (int(parts[0]), int(parts[1]))
    elif source.config.model_type in _OF_ONE_SIZE:
        size = processing.size or _own_size(source.config)

    def in_blue_first(model: nn.Module, pixels: Tensor) -> Any:
        return options.call(model, pixels.flip(1))

    return replace(
        options,
        call=in_blue_first if processing.is_blue_first else options.call,
        normalization=processing.normalization,
        input_size=size,
        licence=source.licence,
        allow_leaks=name.option("allow_leaks", "0") == "1",
    )


def _own_size(config: Any) -> tuple[int, int] | None:
    for one in (config, getattr(config, "vision_config", None), getattr(config, "backbone_config", None)):
        size = getattr(one, "image_size", None)
        if isinstance(size, int):
            return size, size
        if isinstance(size, list | tuple):
            return int(size[0]), int(size[1])
    return None


def _quantity(name: OperatorName) -> Quantity:
    asked = name.option("quantity", "")
    for known in _QUANTITIES:
        if asked == known:
            return known
    raise UnknownNameError.of("quantity", asked, _QUANTITIES)
