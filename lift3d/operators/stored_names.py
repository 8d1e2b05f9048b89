"""Operators that a store names. A store is data, and may be a stranger's: what it names is not loaded for that alone.

Built at once are those that need nothing but installed packages and the weights that these publish. Plug-ins, modules,
and files of weights, strokes or answers are code and paths: whoever opens the store names them himself, or they stay
closed.
"""

from collections.abc import Sequence

from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator, known_operators, load_plugins
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator

_PLAIN = ("rgb", "hog", "felzenszwalb", "tiny")
_PUBLISHED = {"timm": ("hub", "random"), "open_clip": ("", "random")}


def is_self_contained(operator: str) -> bool:
    """Whether an operator's name leads to no code and no file beyond the installed packages."""
    name = _parsed(operator)
    if name is None or name.kind == "open_vocabulary":
        return name is not None and is_self_contained(name.option("of", ""))
    if name.kind in _PUBLISHED:
        # timm reads folders and any repository of the hub by a scheme before the name.
        return ":" not in name.argument and name.option("weights", _PUBLISHED[name.kind][0]) in _PUBLISHED[name.kind]
    return name.kind in _PLAIN


def build_stored(operator: str, trusted: Sequence[str] = ()) -> Operator:
    """Build an operator that the recipe of a store names; ConfigError if it is none, or not the user's to trust.

    ``trusted`` is what the user named himself: plug-ins, as ``build_operator`` takes them, and names of operators.
    """
    named = {one: name for one in trusted if (name := _parsed(one)) and name.kind in known_operators()}
    given = load_plugins([one for one in trusted if one not in named])
    if operator in given:
        return given[operator]
    # By what it means: tables and recipes spell a name differently.
    if _parsed(operator) not in named.values() and not is_self_contained(operator):
        raise ConfigError(
            f"Operator '{operator}' is code or a file that the store names, and a store is data: nothing that it names "
            f"is loaded. If you trust it, name it yourself: --plugin '{operator}', or the plug-in that gives it."
        )
    return build_operator(operator)


def _parsed(operator: str) -> OperatorName | None:
    try:
        return OperatorName.parse(operator)
    except ConfigError:
        return None
