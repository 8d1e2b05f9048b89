"""Operators by name: our own, those of installed packages, and those the user points at. Light: no torch.

An entry, of the catalog or of the entry points ``lift3d.operators``, is a factory that takes the parsed OperatorName. A
plug-in is an Operator, or a class or function without arguments that gives one, and is called by its spec's name. It is
code: it comes from the command line or from code, never from a scene's file.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lift3d.errors import ConfigError, ContractError, Lift3dError, UnknownNameError
from lift3d.messages import loading
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec

ENTRY_POINT_GROUP = "lift3d.operators"

OPERATORS: dict[str, str] = {
    "rgb": "lift3d.operators.rgb:build",
    "timm": "lift3d.operators.timm_models:build",
    "open_clip": "lift3d.operators.open_clip_models:build",
    "hog": "lift3d.operators.hog:HogOperator",
    "felzenszwalb": "lift3d.operators.felzenszwalb:build",
    "open_vocabulary": "lift3d.operators.open_vocabulary:build",
    "strokes": "lift3d.operators.strokes:build",
    "files": "lift3d.operators.view_files:ViewFiles",
    "split": "lift3d.operators.split.names:build",
    "tiny": "lift3d.operators.tiny.catalog:build",
    "transformers": "lift3d.operators.transformers.model:build",
}


def known_operators() -> tuple[str, ...]:
    """Return the kinds of operators there are: our own and those of installed packages."""
    return tuple(sorted({*OPERATORS, *_installed()}))


def build_operator(name: str, plugins: Sequence[str] = ()) -> Operator:
    """Build an operator by its name.

    Args:
        name: ``kind[:argument][?key=value&…]``, or the spec's name of a plug-in.
        plugins: Further operators, each ``module:attribute`` or ``path/to/file.py:attribute``.

    Raises:
        UnknownNameError: If no catalog and no plug-in has the name.
        ConfigError: If the name is malformed, or a plug-in cannot be imported or takes a name that is taken.
        ContractError: If a plug-in is no Operator.
    """
    given = load_plugins(plugins)
    if name in given:
        return given[name]
    parsed = OperatorName.parse(name)
    if parsed.kind in OPERATORS:
        module, attribute = OPERATORS[parsed.kind].split(":")
        with loading(module):
            factory = getattr(importlib.import_module(module), attribute)
        return _checked(factory(parsed), parsed.kind)
    installed = _installed()
    if parsed.kind in installed:
        entry = installed[parsed.kind]
        return _guarded(_checked(_load_entry_point(entry)(parsed), entry.value))
    unknown = UnknownNameError.of("operator", parsed.kind, (*known_operators(), *given))
    raise UnknownNameError(
        f"{unknown} A network of a library is timm:NAME, open_clip:NAME/PRETRAINED or transformers:FOLDER."
    )


def load_plugin(location: str) -> Operator:
    """Load one plug-in; ConfigError if it is not there, ContractError if it is no Operator and gives none."""
    return _checked(loaded_attribute(location), location)


def loaded_attribute(location: str) -> object:
    """Import what ``module:attribute`` or ``path/to/file.py:attribute`` names; a class or function is called."""
    module_name, colon, attribute = location.rpartition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"'{location}' is not a plug-in; expected 'module:attribute' or 'path/to/file.py:attribute'.")
    module = _import(module_name)
    if not hasattr(module, attribute):
        raise ConfigError(f"Plug-in '{location}': '{module_name}' has no attribute '{attribute}'.")
    return _instance(getattr(module, attribute), location)


def operator(model: Any, cuts: Sequence[str] = (), **settings: Any) -> Operator:
    """Make an operator of a torch module, or build one by its name.

    Args:
        model: A module (see lift3d.operators.split.model), or an operator's name.
        cuts: Of a module: names of the submodules whose outputs are lifted.
        settings: Of a module: name, prediction, normalization, … (SplitOptions).

    Raises:
        ConfigError: If a cut or a setting is none, or a name is given with some.
        ContractError: If the module cannot be cut so.
    """
    if isinstance(model, str):
        if cuts or settings:
            raise ConfigError(f"'{model}' is an operator's name, and takes its options in it: '{model}?key=value'.")
        return build_operator(model)
    from lift3d.operators.split.model import SplitModel

    return SplitModel(model, cuts, **settings)


def load_plugins(locations: Sequence[str]) -> dict[str, Operator]:
    """Load plug-ins, held to their promises, by the names of their specs."""
    given: dict[str, Operator] = {}
    for location in locations:
        operator = load_plugin(location)
        name = operator.spec.name
        if name in given or name in OPERATORS:
            raise ConfigError(f"Plug-in '{location}' calls itself '{name}', which is taken; rename its spec.")
        given[name] = _guarded(operator)
    return given


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.name not in OPERATORS}


def _guarded(operator: Operator) -> Operator:
    """Hold an operator that is not ours to its promises."""
    from lift3d.operators.plugin_guard import GuardedOperator

    return GuardedOperator(operator)


def _load_entry_point(entry: EntryPoint) -> Callable[[OperatorName], object]:
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"The installed operator '{entry.name}' ({entry.value}) does not load: {error}") from error
    if not callable(factory):
        raise ContractError(f"The installed operator '{entry.name}' ({entry.value}) is no factory of operators.")
    return factory  # type: ignore[no-any-return]


def _import(name: str) -> ModuleType:
    try:
        with loading():
            return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except (ImportError, FileNotFoundError) as error:
        raise ConfigError(
            f"Plug-in module '{name}' cannot be imported: {error}. Give an importable module, or a file as "
            "'path/to/file.py:attribute'."
        ) from error
    except (Exception, SystemExit) as error:
        # The user's own code runs here, and may fail in any way.
        raise ConfigError(
            f"Plug-in module '{name}' fails when it is imported: {type(error).__name__}: {error}. Mend the module."
        ) from error


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, once per path."""
    resolved = path.expanduser().resolve()
    name = f"lift3d_plugin_{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise ImportError(f"{resolved} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _instance(target: Any, location: str) -> object:
    # A class that satisfies the protocol passes isinstance itself, so classes are told apart first.
    # A torch module is callable, too, but is meant itself.
    is_module = any(kind.__module__ == "torch.nn.modules.module" for kind in type(target).__mro__)
    if isinstance(target, type) or (callable(target) and not isinstance(target, Operator) and not is_module):
        try:
            return target()
        except Lift3dError:
            raise
        except (Exception, SystemExit) as error:
            raise ContractError(
                f"Plug-in '{location}' cannot be built without arguments: {type(error).__name__}: {error}. Mend it."
            ) from error
    return target


def _checked(candidate: object, location: str) -> Operator:
    if isinstance(candidate, Operator) and isinstance(candidate.spec, OperatorSpec):
        return candidate
    missing = [name for name in ("spec", "encode", "fit_scene", "decode") if not hasattr(candidate, name)]
    wrong = f"lacks {', '.join(missing)}" if missing else "has a spec that is no OperatorSpec"
    raise ContractError(
        f"Operator '{location}' gives a {type(candidate).__name__}, which {wrong}; an Operator has "
        "spec, encode, fit_scene and decode (lift3d.operators.protocol)."
    )
