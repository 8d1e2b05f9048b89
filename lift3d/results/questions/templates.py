"""How questions are worded: every sentence that ``lift3d questions`` writes is made here.

``{a}`` and ``{b}`` are names with their article, ``{name}`` a name without; ``{view}`` is a view's id. Which wording a
question has depends on what it asks, so that the same scene gives the same sentences.
"""

import hashlib
from collections.abc import Mapping, Sequence

QUESTIONS: Mapping[str, Sequence[str]] = {
    "distance": (
        "How far apart are {a} and {b} where they are nearest to each other?",
        "How wide is the gap between {a} and {b}?",
        "What is the shortest distance from {a} to {b}?",
    ),
    "centre distance": (
        "How far is it from the middle of {a} to the middle of {b}?",
        "What is the distance between the centres of {a} and {b}?",
    ),
    "height": ("How tall is {a}?", "What is the height of {a}?", "How high does {a} reach from its foot to its top?"),
    "width": ("How wide is {a}, along its longer level side?", "What is the width of {a} at its widest level side?"),
    "longest extent": (
        "What is the longest extent of {a}, in any direction?",
        "How long is {a} from one end to the other, in whichever direction is longest?",
    ),
    "left or right": (
        "In view {view}, is {a} to the left or to the right of {b}?",
        "Looking at view {view}: on which side of {b} is {a}, left or right?",
    ),
    "front or behind": (
        "In view {view}, is {a} in front of {b} or behind it?",
        "Seen from the camera of view {view}, does {a} stand in front of {b} or behind it?",
    ),
    "above or below": (
        "In view {view}, is {a} above or below {b}?",
        "Looking at view {view}: is {a} higher up than all of {b}, above it, or below it?",
    ),
    "nearer": (
        "Which is nearer to the camera of view {view}, {a} or {b}?",
        "In view {view}, which of the two is closer to the camera: {a} or {b}?",
    ),
    "taller": ("Which is taller, {a} or {b}?", "Of {a} and {b}, which has the greater height?"),
    "higher": ("Which stands higher up, {a} or {b}?", "Of {a} and {b}, whose middle is higher above the ground?"),
    "count": ("How many things called {name} are there?", "Count the things called {name}. How many are there?"),
}
# Answers to relations: if the sign is positive, and if it is negative; {a} and {b} as in the question.
ANSWERS: Mapping[str, tuple[str, str]] = {
    "left or right": ("right", "left"),
    "front or behind": ("behind", "in front"),
    "above or below": ("above", "below"),
    "nearer": ("{b}", "{a}"),
    "taller": ("{a}", "{b}"),
    "higher": ("{a}", "{b}"),
}
# Why a question is refused, by its reason.
REFUSED: Mapping[str, str] = {
    "not-found": "no mask shows a thing of that name",
    "few-points": "fewer than 30 points of the surface are of that thing, or no view shows 12 of them",
    "same-name": "several things have that name, so it is not clear which is meant",
    "unsure-name": "another name fits the thing nearly as well, or another thing the name",
    "unsure-mask": "a mask of that name is not one that views agree on, or is among the smallest",
    "touching": "things of that name touch: they may be one, cut into pieces",
    "no-scale": "the scene's unit is not known to be the metre; say how many metres one is: --metres-per-unit",
    "no-up": "the cameras do not tell where up is; say it: --up X,Y,Z",
    "no-view": "no view that is asked about shows both things well",
    "cut-off": "what views show of a thing ends at the pictures' borders, or behind something nearer",
    "one-sided": "views show a thing from one side alone",
    "underside": "views do not show the lower end of a thing",
    "out-of-sight": "the sides that face each other are not seen, so something nearer may be hidden",
    "noise": "the answer is not larger than what the measurement may be off by: a tenth of a number, or a margin",
    "overlap": "the extents of the two overlap, so neither answer is right for all of both",
}
_LENGTHS = ((1.0, 100, "cm", 0), (float("inf"), 1, "m", 2))


def question(kind: str, about: str, **words: str) -> str:
    """Return one of the wordings of a kind; always the same for the same ``about``."""
    wordings = QUESTIONS[kind]
    number = int.from_bytes(hashlib.blake2b(f"{kind} {about}".encode(), digest_size=4).digest(), "little")
    text = wordings[number % len(wordings)].format(**words)
    return text[0].upper() + text[1:]


def choice(kind: str, sign: float, a: str, b: str) -> str:
    """Return the answer to a relation."""
    return ANSWERS[kind][0 if sign > 0 else 1].format(a=a, b=b)


def length(metres: float) -> str:
    """Return a length in words: centimetres below a metre."""
    _, per_metre, unit, digits = next(one for one in _LENGTHS if metres < one[0])
    return f"{metres * per_metre:.{digits}f} {unit}"


def the(name: str) -> str:
    """Return a name with its article; what is numbered, as "region 7", has none."""
    words = name.split()
    has_none = words[0].lower() in ("a", "an", "the") or words[-1].isdecimal()
    return name if has_none else f"the {name}"
