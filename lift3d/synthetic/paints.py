"""Classes of the procedural worlds and how each tends to look: a palette that a small network can learn."""

from lift3d.synthetic.materials import Pattern

# Class: hue, saturation, value (each with a spread), patterns to choose from, gloss.
_Look = tuple[float, float, float, tuple[Pattern, ...], float]
LOOKS: dict[str, _Look] = {
    "floor": (0.08, 0.45, 0.55, (Pattern.BRICKS, Pattern.CHECKS, Pattern.STRIPES), 0.08),
    "wall": (0.13, 0.2, 0.78, (Pattern.BRICKS, Pattern.STRIPES), 0.02),
    "ceiling": (0.6, 0.06, 0.85, (Pattern.PLAIN, Pattern.CHECKS), 0.0),
    "ground": (0.24, 0.35, 0.5, (Pattern.PLAIN,), 0.0),
    "backdrop": (0.55, 0.3, 0.72, (Pattern.PLAIN,), 0.0),
    "rug": (0.93, 0.5, 0.55, (Pattern.STRIPES, Pattern.CHECKS), 0.0),
    "table": (0.07, 0.6, 0.6, (Pattern.PLAIN, Pattern.STRIPES), 0.2),
    "seat": (0.5, 0.45, 0.5, (Pattern.STRIPES, Pattern.CHECKS), 0.03),
    "cabinet": (0.1, 0.35, 0.7, (Pattern.WINDOWS, Pattern.CHECKS), 0.12),
    "board": (0.06, 0.5, 0.45, (Pattern.PLAIN,), 0.1),
    "book": (0.0, 0.65, 0.6, (Pattern.STRIPES, Pattern.PLAIN), 0.08),
    "box": (0.12, 0.6, 0.75, (Pattern.CHECKS, Pattern.BRICKS, Pattern.STRIPES), 0.05),
    "ball": (0.98, 0.75, 0.8, (Pattern.CHECKS, Pattern.STRIPES), 0.35),
    "cylinder": (0.66, 0.6, 0.7, (Pattern.CHECKS, Pattern.STRIPES, Pattern.BRICKS), 0.25),
    "road": (0.62, 0.06, 0.42, (Pattern.PLAIN,), 0.03),
    "pavement": (0.11, 0.12, 0.65, (Pattern.CHECKS,), 0.02),
    "facade": (0.04, 0.4, 0.68, (Pattern.WINDOWS, Pattern.BRICKS), 0.03),
    "car": (0.58, 0.65, 0.65, (Pattern.WINDOWS,), 0.4),
    "pole": (0.45, 0.15, 0.45, (Pattern.STRIPES,), 0.3),
    "trunk": (0.07, 0.45, 0.42, (Pattern.STRIPES, Pattern.PLAIN), 0.0),
    "crown": (0.3, 0.6, 0.48, (Pattern.PLAIN,), 0.0),
    "rock": (0.1, 0.1, 0.55, (Pattern.PLAIN,), 0.04),
}
# Books and boxes come in every colour; other classes stay near their own hue.
FREE_HUES = ("book", "box")
LABELS: dict[str, int] = {name: number for number, name in enumerate(LOOKS)}
