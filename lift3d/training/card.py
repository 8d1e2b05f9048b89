"""The model card of a checkpoint: what it was trained on, for how long, where, how well, and what it cannot do."""

from collections.abc import Mapping, Sequence
from typing import Any

from lift3d.synthetic.training_scenes import HEIGHTS, VIEW_COUNT
from lift3d.synthetic.training_worlds import FAMILIES

History = Mapping[str, Sequence[Mapping[str, float]]]

_TITLES = {"density": "stage I, density proposal", "corrector": "stage II, corrector"}
_VALIDATION = "validation_"
_OF_OPERATORS = "_operators"
_EXPLAINED = {
    "relative_error": "squared error of colours at held-out views over the untrained one",
    "surprise": "−log of the probability near the true depth, nats",
    "residual_cosine": "1 − cosine to the features of the true view over that of shared weights; whole corrector",
    "residual_square": "squared error to the features of the true view over that of shared weights; whole corrector",
    "separate_cosine": "1 − cosine over that of shared weights; new weights alone",
    "separate_square": "squared error over that of shared weights; new weights alone",
    "residual_departure": "squared distance to the consensus of all views over that of the true view; whole corrector",
    "separate_departure": "squared distance to the consensus of all views over that of the true view; new weights",
}


def render_card(name: str, about: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        name: Of the checkpoint.
        about: What the checkpoint says of how it was made.
    """
    return "\n\n".join([f"# {name}", *_making(about), _figures(about["history"]), *_limits(about)]) + "\n"


def _making(about: Mapping[str, Any]) -> list[str]:
    settings, (low, high) = about["settings"], about["sources"]
    spaces = "random networks and hand-made descriptors with the faults of pretrained ones"
    return [
        "Weights of the learned lifters of lift3d (`lift3d`, `separate_weights`, `shared_weights`): coarse density "
        "proposal, then corrective aggregation of features. Licence: Apache-2.0, as the package.",
        "## Data",
        f"{settings['scenes']:,} computed scenes of {VIEW_COUNT} views each, made from seed {settings['seed']}: "
        f"{', '.join(FAMILIES)}. Image heights {', '.join(map(str, HEIGHTS))}; {low} to {high} sources per target. "
        "Textures are noise, patterns and cuttings of the photographs that come with scikit-image. Feature spaces: "
        f"{spaces}. {_without(about)}".rstrip(),
        *_captures(about),
        *_encoders(about),
        "## Training",
        "| | parameters | steps | learning rate | time |\n|---|---|---|---|---|\n" + "\n".join(_stages(about)),
        f"A step trains on {settings['processes']} new example(s) and as many recent ones; kept is the moving average. "
        f"Machine: {about['machine']}; torch {about['torch']}. The command that makes it:",
        f"```bash\n{about['command']}\n```",
    ]


def _stages(about: Mapping[str, Any]) -> list[str]:
    settings, parameters, seconds = about["settings"], about["parameters"], about["seconds"]
    rows = []
    for stage, title in _TITLES.items():
        counts = f"| {title} | {parameters[stage]:,} | {settings[f'{stage}_steps']:,} "
        if stage in seconds:
            rows.append(f"{counts}| {settings[f'{stage}_rate']:g} | {seconds[stage] / 60:.0f} min |")
        else:
            rows.append(f"{counts}| taken as it is from `{settings['density_from']}` | none |")
    return rows


def _without(about: Mapping[str, Any]) -> str:
    absent = {"captures": "no captured scene", "encoders": "no trained network"}
    missing = [words for name, words in absent.items() if not about.get(name)]
    return f"{', '.join(missing)}.".capitalize() if missing else ""


def _captures(about: Mapping[str, Any]) -> list[str]:
    captures = about.get("captures")
    if not captures:
        return []
    share = about["settings"]["capture_share"]
    names = ", ".join(f"{one['name']} ({one['views']} views)" for one in captures)
    return [f"Captures, {share:.0%} of the examples: {names}. None is held out."]


def _encoders(about: Mapping[str, Any]) -> list[str]:
    encoders = about.get("encoders")
    if not encoders:
        return []
    share = about["settings"]["operator_share"]
    rows = [f"| {one['name']} | {one['licence']} | {one['weights'] or '–'} |" for one in encoders]
    return [
        f"Encoders, {share:.0%} of stage II's feature spaces, without simulated faults, channels mixed at random in "
        "half of the draws:",
        "\n".join(["| encoder | licence | digest of its weights |", "|---|---|---|", *rows]),
    ]


def _figures(history: History) -> str:
    rows = [
        f"| {stage} | {_explained(figure)} | {entries[0][key]:.3f} | **{entries[-1][key]:.3f}** |"
        for stage, entries in history.items()
        for key in entries[-1]
        if key.startswith(_VALIDATION)
        for figure in [key.removeprefix(_VALIDATION)]
    ]
    head = "| stage | figure, mean over held-out scenes; less is better | untrained | trained |\n|---|---|---|---|"
    return "\n".join(["## Validation", "", head, *rows])


def _explained(figure: str) -> str:
    plain = figure.removesuffix(_OF_OPERATORS)
    words = _EXPLAINED.get(plain, plain)
    return words if plain == figure else f"{words}; features of the encoders above"


def _limits(about: Mapping[str, Any]) -> list[str]:
    settings, (low, high) = about["settings"], about["validation_sources"]
    return [
        f"Held out: {settings['validation_scenes']} computed scenes of another seed, {low} to {high} sources. They are "
        "of the same families as those trained on; figures on captured scenes are in the results of the project.",
        "## Limits",
        "- Static scenes with given cameras. Things that move, mirrors and glass are seen as noise or not at all.\n"
        f"- Fewer than {about['sources'][0]} or many more than {about['sources'][1]} sources, images much larger than "
        f"{max(HEIGHTS)} pixels, and wrong depth ranges are outside of what it was trained on.\n"
        "- It combines what sources show: what no source sees stays uncovered."
        + (
            ""
            if settings["corrector_steps"]
            else "\n- Stage II is untrained: it is there to train others on its stage I."
        ),
    ]
