"""Where a module is cut: outputs of named submodules that are captured, or replaced, while it runs.

Written ``layer.name``, ``layer.name:key`` where that output is a mapping or a sequence (``:0``, ``:hidden_states.3``),
``layer.name@1`` for the second call of a submodule that runs several times. ``input`` and ``output`` are the image as
the network sees it and the network's answer.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lift3d.errors import ConfigError, ContractError

INPUT, OUTPUT = "input", "output"
Call = Callable[[nn.Module, Tensor], Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """One place where a module is cut, as it was written: a submodule, or input, or output.

    ``key`` is the way to the tensor in its output, step by step; ``call`` which of its calls, None if it runs once.
    """

    text: str
    module: str
    key: tuple[str, ...] = ()
    call: int | None = None

    @classmethod
    def parse(cls, text: str, model: nn.Module) -> "Cut":
        """Read a cut; ConfigError if the model has no such submodule: the closest names are offered."""
        place, _, key = text.strip().partition(":")
        name, at, call = place.partition("@")
        if at and not call.isdecimal():
            raise ConfigError(f"Cut '{text}': after '@' stands which call of the submodule, 0, 1, …; got '{call}'.")
        known = [own for own, _ in model.named_modules() if own]
        if name not in (INPUT, OUTPUT) and name not in known:
            # Names of layers differ in one part most often; what shares the most parts is closest.
            close = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or known[:5]
            raise ConfigError(
                f"Cut '{text}': {type(model).__name__} has no submodule '{name}'. Closest: {', '.join(close)}; "
                f"'{INPUT}' and '{OUTPUT}' are cuts, too."
            )
        return cls(text.strip(), name, tuple(key.split(".")) if key else (), int(call) if at else None)

    def pick(self, found: Any) -> Tensor:
        """Follow the key into a submodule's output, by default to the first tensor that has space axes."""
        place = f"Cut '{self.text}'"
        for step in self.key if self.key or isinstance(found, Tensor) else (_first_key(found),):
            try:
                found = found[step] if isinstance(found, Mapping) else found[int(step)]
            except (KeyError, IndexError, ValueError, TypeError):
                raise ContractError(f"{place}: there is no '{step}' in {_described(found)}.") from None
        if not isinstance(found, Tensor):
            raise ContractError(f"{place} gives {_described(found)}; expected a tensor. Name the way to one after ':'.")
        return found

    def put(self, found: Any, tensor: Tensor) -> Any:
        """Return a submodule's output with another tensor in this cut's place."""
        return _put(found, self.key, tensor)


def _first_key(found: Any) -> str:
    items = found.items() if isinstance(found, Mapping) else enumerate(found) if isinstance(found, list | tuple) else ()
    for key, value in items:
        if isinstance(value, Tensor) and value.ndim >= 3:
            return str(key)
    return "0"


def _put(found: Any, key: Sequence[str], tensor: Tensor) -> Any:
    if isinstance(found, Tensor):
        return tensor
    step = key[0] if key else _first_key(found)
    if isinstance(found, Mapping):
        changed = {name: _put(one, key[1:], tensor) if name == step else one for name, one in found.items()}
        return changed if type(found) is dict else type(found)(**changed)
    parts = [_put(one, key[1:], tensor) if str(at) == step else one for at, one in enumerate(found)]
    # Named tuples are made of their parts, tuples and lists of a sequence.
    return type(found)(*parts) if hasattr(found, "_fields") else type(found)(parts)


def _described(found: Any) -> str:
    if isinstance(found, Mapping):
        return f"a {type(found).__name__} of {', '.join(map(str, found))}"
    if isinstance(found, list | tuple):
        return f"a {type(found).__name__} of {len(found)}: {', '.join(type(one).__name__ for one in found)}"
    return f"a {type(found).__name__}"


@contextmanager
def at_cuts(
    model: nn.Module, cuts: Collection[Cut], react: Callable[[Cut, Any], Any], *, is_first: bool = True
) -> Iterator[Counter[str]]:
    """Put what ``react`` makes of submodules' outputs at cuts in their place; yield how often each has run.

    First of all hooks by default, since a model may itself collect what its layers give by hooks.
    """
    counts: Counter[str] = Counter()

    def hook(name: str, _: nn.Module, __: Any, output: Any) -> Any:
        count = counts[name]
        counts[name] += 1
        for cut in cuts:
            if cut.module == name and cut.call in (None, count):
                output = react(cut, output)
        return output

    with ExitStack() as hooks:
        for name in dict.fromkeys(cut.module for cut in cuts if cut.module not in (INPUT, OUTPUT)):
            own = partial(hook, name)
            hooks.enter_context(model.get_submodule(name).register_forward_hook(own, prepend=is_first))
        yield counts


class _Reached(Exception):  # noqa: N818 - no error: the last cut has been captured
    """The rest of the module need not run."""


def capture(
    model: nn.Module, call: Call, pixels: Tensor, cuts: Sequence[Cut], *, stops: bool = False
) -> tuple[Any, dict[Cut, Tensor]]:
    """Run a module; return its output (None if it stops when all are captured) and the tensors at the cuts.

    ContractError if a submodule of a cut does not run, or runs several times and the cut does not say which.
    """
    # Copies: what follows may work in place.
    found: dict[Cut, Tensor] = {cut: pixels.clone() for cut in cuts if cut.module == INPUT}

    def take(cut: Cut, output: Any) -> Any:
        found[cut] = cut.pick(output).clone()
        if stops and len(found) == len(cuts):
            raise _Reached
        return output

    try:
        with at_cuts(model, cuts, take, is_first=False) as counts:
            output = call(model, pixels)
    except _Reached:
        return None, found
    for cut in cuts:
        if cut.module == OUTPUT:
            found[cut] = cut.pick(output).clone()
        elif cut not in found:
            raise ContractError(f"Cut '{cut.text}': the submodule ran {counts[cut.module]} times; cut another.")
        elif cut.call is None and counts[cut.module] > 1:
            raise ContractError(
                f"Cut '{cut.text}': the submodule runs {counts[cut.module]} times; say which as '{cut.text}@0', "
                f"'{cut.text}@1', …, or cut another."
            )
    return output, found


def replace_in(model: nn.Module, call: Call, pixels: Tensor, features: Mapping[Cut, Tensor]) -> Any:
    """Run a module with other tensors at its cuts (for the images, at ``input``), and return its output."""
    at_input = [tensor for cut, tensor in features.items() if cut.module == INPUT]
    with at_cuts(model, features, lambda cut, output: cut.put(output, features[cut].clone())):
        output = call(model, (at_input[0] if at_input else pixels).clone())
    for cut, tensor in features.items():
        if cut.module == OUTPUT:
            output = cut.put(output, tensor)
    return output


def tensors_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two answers are the same but for rounding in another order of sums."""
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return bool((a == b).all())
    scale = float(b.abs().amax()) if b.numel() else 0.0
    return bool(torch.isfinite(a).all()) and float((a - b).abs().amax()) <= 1e-4 * max(scale, 1e-6)
