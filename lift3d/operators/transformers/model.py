"""Models of transformers that answer with maps: ``transformers:FOLDER_OR_REPOSITORY?revision=…&task=…&cuts=…``.

A folder is one that ``save_pretrained`` wrote. A repository OWNER/NAME of the hub must be in its cache, and revision
names the commit: branches move, and what a recipe says is what runs. ``weights=random`` (with seed) takes only the
configuration, of the folder or one that is built in (``transformers:segformer?weights=random``).

task is found from the configuration unless it fits several; docs/model-libraries.md says what is lifted of each, and
how images are normalised and sized. prompts: a cup,a table, for CLIPSeg. cuts: other places (see split.cuts), with
commas between. quantity, input_size=HEIGHT,WIDTH, allow_leaks=1: as ``split.model.SplitOptions`` says.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from lift3d.errors import ConfigError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Quantity
from lift3d.operators.split.model import AS_IT_IS, SplitModel, SplitOptions
from lift3d.operators.transformers.tasks import TASKS
from lift3d.operators.transformers.weights import Source, library

_OPTIONS = (
    *("revision", "task", "weights", "seed", "cuts", "prompts"),
    *("quantity", "input_size", "allow_leaks", "allow_pickle"),
)
_QUANTITIES: tuple[Quantity, ...] = ("invariant", "depth", "disparity", "label")
_FEATURES = "image-feature-extraction"
# Architectures that take one size only, or square ones: their own is then the one to give.
_OF_ONE_SIZE = ("dpt", "beit", "data2vec-vision", "sam", "sam_hq", "clipseg")


def build(name: OperatorName) -> SplitModel:
    """Build the operator ``transformers:FOLDER_OR_REPOSITORY``."""
    name.check(_OPTIONS, "FOLDER, OWNER/NAME?revision=COMMIT, or an architecture with weights=random")
    library()
    source = Source.of(name)
    task = _task(source)
    reading = TASKS[task].read(source, _model(source, task))
    options = _with_processor(source, task, reading.options)
    cuts = name.listed("cuts")
    if cuts and options.quantity in ("depth", "disparity") and cuts != ("output",):
        # Inside a network depth is no longer a number that could be taken from one camera to another.
        options = replace(options, quantity="invariant")
    if name.option("quantity", ""):
        options = replace(options, quantity=name.choice("quantity", _QUANTITIES))
    return SplitModel(reading.model, cuts or reading.cuts, name=str(name), options=options)


def _task(source: Source) -> str:
    """Return the task that a name asks for, or the only one that its configuration fits."""
    if source.name.option("task", ""):
        return source.name.choice("task", tuple(TASKS))
    fitting = _fitting(source, tuple(getattr(source.config, "architectures", None) or ()))
    if len(fitting) != 1:
        raise ConfigError(
            f"Operator '{source.name}': a '{source.config.model_type}' fits {', '.join(fitting) or 'no task'}; say "
            f"which with task=, one of {', '.join(TASKS)}."
        )
    return fitting[0]


def _fitting(source: Source, architectures: Sequence[str]) -> list[str]:
    """Return the tasks of the classes that a configuration names; without any, those that its type has."""
    kind, found = source.config.model_type, []
    for task in TASKS:
        own = _classes(task).get(kind)
        if task != _FEATURES and own is not None and (not architectures or own in architectures):
            found.append(task)
    return found or [_FEATURES]


def _classes(task: str) -> dict[str, str]:
    """Return the class of each architecture that does a task."""
    listed: dict[str, str] = getattr(library().models.auto.modeling_auto, TASKS[task].listed, {})
    return {**listed, **TASKS[task].classes}


def _model(source: Source, task: str) -> Any:
    kind = source.config.model_type
    if kind not in _classes(task):
        raise ConfigError(f"Operator '{source.name}': transformers has no {task} of a '{kind}'.")
    return source.build(getattr(library(), TASKS[task].classes.get(kind, TASKS[task].auto_class)))


def _with_processor(source: Source, task: str, options: SplitOptions) -> SplitOptions:
    """Add what goes before the model: normalisation and order of colours, and its size if it takes one only."""
    name = source.name
    processing = source.preprocessing(AS_IT_IS) if task == "image-to-image" else source.preprocessing()
    size = name.numbers("input_size", (0, 0)) if name.option("input_size", "") else None
    if size is None and source.config.model_type in _OF_ONE_SIZE:
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
