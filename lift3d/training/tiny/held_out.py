"""What the small models are judged by, fixed before any of them was trained; training refuses it.

A withheld pair of colour and shape is in no training picture and no training caption, though both of its words are.
"""

COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
SHAPES = ("box", "ball", "cylinder")
MATERIALS = ("plain", "striped", "checkered", "bricked")
WITHHELD_PAIRS = (
    ("red", "ball"),
    ("blue", "box"),
    ("green", "cylinder"),
    ("yellow", "ball"),
    ("purple", "box"),
)
# Scenes ``procedural:objects?seed=N`` that only evaluation sees; training takes seeds below the first.
EVALUATION_SEEDS = tuple(range(9000, 9008))
# What relevancy is measured against, after LERF (ICCV 2023).
CANONICAL_NEGATIVES = ("object", "things", "stuff", "texture")
PROMPT = "a {color} {shape}"
# Photographs of scikit-image that are neither textures nor pictures of any training here.
EVALUATION_PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png")
