"""Which ways lead from the image to a module's answer past its cuts: skips and residuals that nobody lifted.

With tensors of their own at the cuts, whatever of the answer still depends on the image has come by an uncut way. The
graph of the computation says which: a submodule that the image reaches, but no cut, and that something behind the cuts
reads.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lift3d.operators.split.cuts import INPUT, OUTPUT, Call, Cut, at_cuts

_Node = Any  # torch.autograd.graph.Node, which has no public constructor to name


def uncut_paths(model: nn.Module, call: Call, pixels: Tensor, cuts: Sequence[Cut], answer: Cut) -> tuple[str, ...]:
    """Return the names of what carries the image past the cuts to the answer, in the order in which they run.

    They are submodules, and ``input`` if the image itself is read behind the cuts: names that can be cut, too. Empty if
    nothing passes, or if the module, in evaluation mode, does not tell: its answer has no gradient.
    """
    if any(cut.module == OUTPUT for cut in cuts):
        return ()
    image = pixels.detach().clone().requires_grad_()
    outputs: dict[str, list[_Node]] = {}
    handles = [
        module.register_forward_hook(lambda _, __, found, name=name: outputs.setdefault(name, []).extend(_nodes(found)))
        for name, module in model.named_modules()
        if name
    ]
    leaves: list[Tensor] = []
    try:
        with (
            torch.enable_grad(),
            at_cuts(model, cuts, lambda cut, found: cut.put(found, _leaf(cut.pick(found), leaves))),
        ):
            given = _leaf(image, leaves) if any(cut.module == INPUT for cut in cuts) else image.clone()
            end = answer.pick(call(model, given))
    finally:
        for handle in handles:
            handle.remove()
    if not end.requires_grad:
        return ()
    ways = _Ways(image, leaves, outputs)
    return ways.past_the_cuts(end.grad_fn)


class _Ways:
    """The graph behind an answer, with the nodes that are outputs of submodules."""

    def __init__(self, image: Tensor, leaves: Sequence[Tensor], outputs: dict[str, list[_Node]]) -> None:
        self._image, self._leaves = {id(image)}, {id(leaf) for leaf in leaves}
        # The innermost submodule ends first, so its name is the first that a node gets.
        self._names: dict[_Node, str] = {}
        for name, nodes in outputs.items():
            for node in nodes:
                self._names.setdefault(node, name)
        self._order = {name: place for place, name in enumerate(outputs)}
        self._reached: dict[_Node, tuple[bool, bool]] = {}

    def past_the_cuts(self, end: _Node) -> tuple[str, ...]:
        """Return what the image reaches alone and the part behind the cuts reads."""
        self._mark(end)
        if not self._reached[end][0]:
            return ()
        found: set[str] = set()
        waiting, seen = [end], {end}
        while waiting:
            node = waiting.pop()
            for before in _before(node):
                by_image, by_cut = self._reached[before]
                if not by_image or before in seen:
                    continue
                seen.add(before)
                if by_cut:
                    waiting.append(before)
                else:
                    found.add(self._named(before))
        if not self._reached[end][1]:
            found.add(self._named(end))
        return tuple(sorted(found, key=lambda name: self._order.get(name, -1)))

    def _named(self, node: _Node) -> str:
        """Return the submodule whose output flows through a node that no cut reaches; the image if there is none."""
        waiting, seen = [node], {node}
        while waiting:
            one = waiting.pop(0)
            if one in self._names:
                return self._names[one]
            for before in _before(one):
                if before not in seen and self._reached[before][0]:
                    seen.add(before)
                    waiting.append(before)
        return INPUT

    def _mark(self, end: _Node) -> None:
        """Note of every node whether the image and whether a cut reaches it; without recursion, graphs are deep."""
        waiting = [end]
        while waiting:
            node = waiting[-1]
            if node in self._reached:
                waiting.pop()
                continue
            missing = [before for before in _before(node) if before not in self._reached]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            leaf = id(getattr(node, "variable", None))
            reached = [self._reached[before] for before in _before(node)]
            self._reached[node] = (
                leaf in self._image or any(one for one, _ in reached),
                leaf in self._leaves or any(one for _, one in reached),
            )


def _before(node: _Node) -> list[_Node]:
    return [before for before, _ in node.next_functions if before is not None]


def _leaf(tensor: Tensor, leaves: list[Tensor]) -> Tensor:
    leaf = tensor.detach().clone().requires_grad_()
    leaves.append(leaf)
    # What follows may work in place, which leaves forbid.
    return leaf.clone()


def _nodes(found: Any) -> Iterable[_Node]:
    if isinstance(found, Tensor):
        return [found.grad_fn] if found.grad_fn is not None else []
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list | tuple):
        return [node for one in found for node in _nodes(one)]
    return []
