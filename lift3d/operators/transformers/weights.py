"""Where a model of transformers comes from: a folder, or a commit that the hub's cache holds. Nothing is downloaded.

Weights are safetensors; pickled ones only where the name says allow_pickle=1 (even then no code of theirs is run).
A model whose file lacks some of its weights is refused: transformers would fill them in at random.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError
from lift3d.extras import extra
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import seeded
from lift3d.operators.preprocessing import Normalization
from lift3d.torchvision_guard import ensure_torchvision

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_NAMED_IN_MESSAGES = 3
# Of what a processor is shown to find out what it does to colours.
_PICTURE_PX = 64
# Published architectures with few layers and channels, to try and to test, not to use: what differs from defaults.
BUILT_IN = {path.stem: path for path in sorted(Path(__file__).with_name("built_in").glob("*.json"))}
# Mean and deviation of ImageNet's colours, which most networks of transformers were trained with.
_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def library() -> Any:
    """Import transformers; MissingExtraError if it is not installed."""
    ensure_torchvision()
    with extra("transformers"):
        return importlib.import_module("transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing progress and advice to the terminal; its settings are left as they were."""
    logging = library().utils.logging
    level, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows:
            logging.enable_progress_bar()


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model's processor does to images in [0, 1]; ``size`` is the fixed (height, width) that it resizes to."""

    normalization: Normalization
    size: tuple[int, int] | None
    is_blue_first: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A model's configuration and, unless its weights are random, the folder that it lies in."""

    name: OperatorName
    config: Any
    folder: Path | None

    @classmethod
    def of(cls, name: OperatorName) -> "Source":
        """Find what a name means: a built-in configuration, a folder, or a repository in the hub's cache."""
        argument, random = name.argument, name.option("weights", "") == "random"
        if name.option("weights", "random") != "random":
            raise ConfigError(f"Operator '{name}': weights can only be 'random'; others lie in the model's own folder.")
        if random and argument in BUILT_IN:
            return cls(name, _config(name, _read_json(name, BUILT_IN[argument])), None)
        folder = Path(argument).expanduser()
        if not folder.is_dir():
            folder = _cached(name)
        return cls(name, _config(name, _read_json(name, folder / "config.json")), folder)

    @property
    def is_random(self) -> bool:
        """Whether the weights are drawn, not read."""
        return self.name.option("weights", "") == "random"

    @property
    def licence(self) -> str:
        """What the model's card says; our own for random weights."""
        if self.folder is None or self.is_random:
            return "Apache-2.0"
        card = self.folder / "README.md"
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        found = re.search(r"^license:\s*(\S+)", text, re.MULTILINE)
        return found.group(1) if found else "unknown"

    def preprocessing(self, default: Normalization = _IMAGENET) -> Preprocessing:
        """Return what the model's image processor does; the default for a folder without one."""
        if self.folder is None or not _has_processor(self.folder):
            return Preprocessing(default, None, False)
        try:
            with quiet():
                processor = library().AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
                normalization, is_blue_first = _measured(processor)
        except Exception as error:  # Processors fail in whatever way they like.
            raise ConfigError(f"Operator '{self.name}': its image processor does not read: {error}") from error
        size = dict(getattr(processor, "size", None) or {})
        height, width = size.get("height"), size.get("width")
        return Preprocessing(normalization, (int(height), int(width)) if height and width else None, is_blue_first)

    def build(self, auto_class: Any) -> Any:
        """Build the model, with its weights or random ones (option seed); ConfigError if they do not fill it."""
        try:
            with seeded(self.name.integer("seed", 0)), quiet():
                if not self.is_random:
                    return self._read(auto_class)
                make = getattr(auto_class, "from_config", getattr(auto_class, "_from_config", None))
                return make(self.config, dtype=torch.float32)  # type: ignore[misc]
        except ConfigError:
            raise
        except Exception as error:  # Networks, transformers, safetensors and pickles raise a dozen classes.
            raise ConfigError(
                f"Operator '{self.name}' cannot be built: {type(error).__name__}: {error}", operator=str(self.name)
            ) from error

    def _read(self, auto_class: Any) -> Any:
        folder = Path() if self.folder is None else self.folder
        has_safe = any(folder.glob("model*.safetensors"))
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
        if not has_safe and not pickled:
            raise ConfigError(
                f"Operator '{self.name}': there are no weights in '{folder}'; expected model.safetensors. "
                f"{_download(self.name)}"
            )
        if not has_safe and self.name.option("allow_pickle", "0") != "1":
            raise ConfigError(
                f"Operator '{self.name}': the weights in '{folder}' are pickled ({', '.join(pickled)}); expected "
                "model.safetensors. Take a revision that has it, or accept the file with allow_pickle=1."
            )
        model, report = auto_class.from_pretrained(
            folder,
            config=self.config,
            use_safetensors=has_safe,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
        missing = sorted({*map(str, report["missing_keys"]), *(str(one[0]) for one in report["mismatched_keys"])})
        if missing:
            raise ConfigError(
                f"Operator '{self.name}': the weights in '{folder}' lack {len(missing)} entries of a "
                f"{type(model).__name__} ({', '.join(missing[:_NAMED_IN_MESSAGES])}, …), or have them in another "
                "shape. Give a model that was trained for this task, or another task=."
            )
        return model


def _has_processor(folder: Path) -> bool:
    """Whether an image processor lies in a folder: in a file of its own, or in the one of all that a model needs."""
    if (folder / "preprocessor_config.json").is_file():
        return True
    try:
        return "image_processor" in parse_json((folder / "processor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _measured(processor: Any) -> tuple[Normalization, bool]:
    """Return what a processor does to colours, found by giving it four pictures of one colour each.

    Its settings alone do not tell: those that a file leaves out are the class's. ValueError if it does something else
    than scale and shift channels, in their order or reversed.
    """
    colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.uint8)
    pictures = [np.tile(colour, (_PICTURE_PX, _PICTURE_PX, 1)) for colour in colours]
    seen = [torch.as_tensor(np.asarray(processor(images=one, return_tensors="pt")["pixel_values"])) for one in pictures]
    black, *primary = (one[(0,) * (one.ndim - 3)][:, one.shape[-2] // 2, one.shape[-1] // 2].double() for one in seen)
    matrix = torch.stack(primary, dim=1) - black[:, None]
    is_blue_first = bool(matrix[0, 2].abs() > matrix[0, 0].abs())
    matrix, black = (matrix.flip(0), black.flip(0)) if is_blue_first else (matrix, black)
    scale = matrix.diagonal()
    if float((matrix - torch.diag(scale)).abs().max()) > 1e-4 * float(scale.abs().max()) or float(scale.min()) <= 0:
        raise ValueError("it mixes colours or turns them round; expected one scale and shift per channel")
    std, mean = 1 / scale, -black / scale
    return Normalization(_exact(mean), _exact(std)), is_blue_first


def _exact(values: Tensor) -> tuple[float, float, float]:
    """Return numbers without the rounding of float32: a file has a few digits."""
    first, second, third = (float(f"{value:.6g}") for value in values.tolist())
    return first, second, third


def _config(name: OperatorName, settings: Mapping[str, Any]) -> Any:
    kinds = library().CONFIG_MAPPING
    kind = settings.get("model_type", "")
    if kind not in kinds:
        raise ConfigError(f"Operator '{name}': transformers has no architecture '{kind}'; see its list of models.")
    try:
        with quiet():
            return kinds[kind].from_dict(dict(settings))
    except Exception as error:  # Configurations are checked by several libraries.
        raise ConfigError(f"Operator '{name}': its configuration does not read: {error}") from error


def _read_json(name: OperatorName, path: Path) -> Mapping[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Operator '{name}': '{path}' does not read: {error}. {_download(name)}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"Operator '{name}': '{path}' holds no mapping.")
    return found


def _cached(name: OperatorName) -> Path:
    """Return the folder of a commit in the hub's cache."""
    hub = importlib.import_module("huggingface_hub")
    revision = name.option("revision", "")
    if not _REPOSITORY.fullmatch(name.argument):
        built_in = ", ".join(f"'{one}'" for one in BUILT_IN)
        raise ConfigError(
            f"Operator '{name}': '{name.argument}' is no folder, no repository 'OWNER/NAME' of the hub and, with "
            f"weights=random, none of the built-in architectures {built_in}."
        )
    if not _COMMIT.fullmatch(revision):
        folder = Path(hub.constants.HF_HUB_CACHE) / f"models--{name.argument.replace('/', '--')}" / "snapshots"
        there = ", ".join(sorted(path.name for path in folder.glob("*"))) or "none"
        raise ConfigError(
            f"Operator '{name}' must name a commit, since branches move: '?revision=' and 40 hexadecimal digits, got "
            f"'{revision}'. Commits in the cache: {there}. {_download(name)}"
        )
    try:
        return Path(hub.snapshot_download(name.argument, revision=revision, local_files_only=True))
    except Exception as error:  # The hub's client raises a dozen classes.
        raise ConfigError(
            f"Operator '{name}': the hub's cache has no such commit, and nothing is downloaded here. {_download(name)}"
        ) from error


def _download(name: OperatorName) -> str:
    if not _REPOSITORY.fullmatch(name.argument) or Path(name.argument).is_dir():
        return "A folder holds config.json and model.safetensors, as save_pretrained writes them."
    revision = name.option("revision", "COMMIT")
    return (
        f"Download it where there is a network: 'hf download {name.argument} --revision {revision}'; or into a folder "
        "of its own, with '--local-dir FOLDER', to be used as 'transformers:FOLDER'."
    )
