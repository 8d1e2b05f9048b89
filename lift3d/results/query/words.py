"""Words as queries: which operators can take some, and their embeddings."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.errors import ConfigError, Lift3dError
from lift3d.operators.inner_encoder import OPTION
from lift3d.operators.names import OperatorName
from lift3d.operators.open_vocabulary import NEGATIVES, TextEncoder
from lift3d.operators.stored_names import build_stored, is_self_contained

TEMPLATE = "a {}"
_NEGATIVES: WeakKeyDictionary[TextEncoder, Tensor] = WeakKeyDictionary()
# Longer ones are cut by every tokenizer.
MOST_CHARACTERS = 200


def can_take_words(operator: str, plugins: Sequence[str] = (), trusted: Sequence[str] = ()) -> str:
    """Return why an operator cannot compare its features with words, as a sentence; empty if it can, or may.

    By its name alone: a network is loaded when a word is asked for, and never one of files that a store names, unless
    the user names them himself: ``trusted``, as for ``build_stored``.
    """
    try:
        name = OperatorName.parse(operator)
    except ConfigError:
        name = OperatorName("plug-in")
    if name.kind in ("open_clip", "open_vocabulary") or (name.kind, name.argument) == ("tiny", "clip"):
        said = (
            "This model is code or files that the store names, which are not loaded here: no words can be looked for."
        )
        return "" if trusted or is_self_contained(operator) else said
    if plugins and not name.argument and not is_self_contained(operator):
        return "" if trusted else "This model came as a plug-in, whose code is not run here: name it by --plugin."
    return "This model knows pictures only. Those that know words, too: open_clip:…, tiny:clip, open_vocabulary?…"


def text_encoder(operator: str, trusted: Sequence[str] = ()) -> TextEncoder:
    """Build what embeds texts in the space of an operator's features; plug-ins and files if they are ``trusted``.

    ConfigError if the operator cannot take words; Lift3dError if its network cannot be built here.
    """
    try:
        name = OperatorName.parse(operator)
        inner = name.option(OPTION, "") if name.kind == "open_vocabulary" else operator
    except ConfigError:
        inner = operator
    built = build_stored(inner, trusted)
    if not isinstance(built, TextEncoder):
        raise ConfigError(f"Operator '{operator}' has no encoder of texts (encode_text).")
    return built


def embedded(encoder: TextEncoder, words: str) -> Float[Tensor, "text channel"]:
    """Return the embedding of some words, then of LERF's four words that they are told from."""
    text = words.strip()
    if not text or len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"Type what to look for, in up to {MOST_CHARACTERS} characters, e.g. 'a mug'; got {len(text)}."
        )
    # People type "a mug" as well as "mug".
    first = text if text.split()[0].lower() in ("a", "an", "the", "some") else TEMPLATE.replace("{}", text)
    try:
        # The four take four times as long as the one, and are always the same.
        if encoder not in _NEGATIVES:
            _NEGATIVES[encoder] = encoder.encode_text([*NEGATIVES]).detach().cpu().float()
        return torch.cat([encoder.encode_text([first]).detach().cpu().float(), _NEGATIVES[encoder]])
    except Lift3dError:
        raise
    except Exception as error:
        # A foreign tokenizer or network runs here, and may fail in any way.
        raise ConfigError(
            f"The words '{text}' cannot be read by this model: {type(error).__name__}: {error}"
        ) from error
