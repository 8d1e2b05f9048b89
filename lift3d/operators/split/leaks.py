"""Which ways lead from the image to a module's answer past its cuts: skips and residuals that nobody lifted.

With tensors of their own at the cuts, whatever of the answer still depends on the image has come by an uncut way. The
graph of the computation says which: a submodule that the image reaches, but no cut, and that something behind the cuts
reads.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from graphlib import TopologicalSorter
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
    leaves: list[Tensor] = []

    def note(name: str, _: nn.Module, __: Any, found: Any) -> None:
        outputs.setdefault(name, []).extend(_nodes(found))

    with ExitStack() as hooks, torch.enable_grad():
        for name, module in model.named_modules():
            if name:
                hooks.enter_context(module.register_forward_hook(partial(note, name)))
        hooks.enter_context(at_cuts(model, cuts, lambda cut, found: cut.put(found, _leaf(cut.pick(found), leaves))))
        given = _leaf(image, leaves) if any(cut.module == INPUT for cut in cuts) else image.clone()
        end = answer.pick(call(model, given))
    if not end.requires_grad:
        return ()
    graph: dict[_Node, list[_Node]] = {}
    waiting: list[_Node] = [end.grad_fn]
    while waiting:
        node = waiting.pop()
        if node not in graph:
            graph[node] = [before for before, _ in node.next_functions if before is not None]
            waiting += graph[node]
    by_image, by_cut = _reached(graph, {id(image)}), _reached(graph, set(map(id, leaves)))
    alone = by_image - by_cut
    behind = {before for node in by_image & by_cut for before in graph[node]} | {end.grad_fn}
    # The innermost submodule ends first, so its name is the first that a node gets.
    names = {node: name for name, nodes in reversed(outputs.items()) for node in nodes}
    order = {name: place for place, name in enumerate(outputs)}
    found = {_named(node, graph, by_image, names) for node in alone & behind}
    return tuple(sorted(found, key=lambda name: order.get(name, -1)))


def _reached(graph: Mapping[_Node, list[_Node]], tensors: Collection[int]) -> set[_Node]:
    """Return the nodes that tensors, by their ids, lead to."""
    found: set[_Node] = set()
    for node in TopologicalSorter(graph).static_order():
        if id(getattr(node, "variable", None)) in tensors or any(before in found for before in graph[node]):
            found.add(node)
    return found


def _named(
    node: _Node, graph: Mapping[_Node, list[_Node]], by_image: Collection[_Node], names: Mapping[_Node, str]
) -> str:
    """Return the nearest submodule whose output flows through a node; the image if there is none."""
    waiting, seen = [node], {node}
    for one in waiting:
        if one in names:
            return names[one]
        fresh = [before for before in graph[one] if before in by_image and before not in seen]
        waiting += fresh
        seen.update(fresh)
    return INPUT


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
