"""Words as an operator's features have them: of models that read words, each loaded when it is first asked."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from lift3d.errors import Lift3dError
from lift3d.operators.open_vocabulary import TextEncoder
from lift3d.results.query.words import can_take_words, embedded, text_encoder
from lift3d.viewer.stage import Stage


class Words:
    """The text encoders that one browser has asked for; of plug-ins and files, those that the user named himself."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """Load nothing yet."""
        self._trusted = tuple(trusted)
        self._encoders: dict[str, TextEncoder] = {}

    def has(self, stage: Stage) -> bool:
        """Whether the model of a stage has been loaded."""
        return stage.lifted.operator in self._encoders

    def load(self, stage: Stage) -> None:
        """Load it; Lift3dError if it cannot take words."""
        name = stage.lifted.operator
        if trouble := can_take_words(name, stage.lifted.recipe.plugins, self._trusted):
            raise Lift3dError(trouble)
        self._encoders[name] = text_encoder(name, self._trusted)

    def vectors(self, stage: Stage, words: str) -> Float[Tensor, "text channel"]:
        """Return words, and those that they are told from, by the model of a stage, which has been loaded."""
        vectors = embedded(self._encoders[stage.lifted.operator], words)
        channels = stage.viewed.lifted.unit.shape[1]
        if vectors.shape[1] != channels:
            raise Lift3dError(f"Words have {vectors.shape[1]} channels and features {channels}: no one space.")
        return vectors
