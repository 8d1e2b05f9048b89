"""Protocols of score rows in plain words: which views are answered, from which others, over which pixels."""

from collections.abc import Iterable

from lift3d.domain.scores import ALL_PIXELS, COMMON_PIXELS

_TARGETS = {
    "refine-all": "every view is answered, its own photograph among its sources",
    "leave-one-out": "every view is answered from the others, never from itself",
    "novel": "cameras of a file are answered, from which nobody took a photograph",
}
# Of one view in N.
_SOME_TARGETS = {
    "refine": "one view in {} is answered, its own photograph among its sources",
    "heldout": "one view in {} is held out, and answered from the others",
}
_PIXELS = {ALL_PIXELS: "over all valid pixels", COMMON_PIXELS: "over those that every lifter covers"}


def protocols_in_words(protocols: Iterable[str]) -> str:
    """Return a sentence on each part of some protocols, such as heldout-8 and all of ``heldout-8/all``.

    Empty of what is none.
    """
    parts = [one.partition("/") for one in dict.fromkeys(protocols)]
    told = {name: _targets(name) for name, _, _ in parts} | {name: _PIXELS.get(name, "") for _, _, name in parts}
    return "; ".join(f"{name}: {words}" for name, words in told.items() if words) + "." * any(told.values())


def _targets(name: str) -> str:
    mode, _, step = name.rpartition("-")
    return _TARGETS.get(name) or (_SOME_TARGETS.get(mode, "").format(step) if step.isdecimal() else "")
