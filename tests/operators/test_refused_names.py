"""Names that make no operator: each kind of the catalog says what is wrong, and what would be right."""

from pathlib import Path

import pytest

from lift3d.errors import ConfigError, ContractError, UnknownNameError
from lift3d.operators.catalog import build_operator

SUPPORT = Path(__file__).parents[1] / "support"
VIT, CLIP = "timm:test_vit?weights=random", "open_clip:ViT-B-16"
SEGFORMER, DPT = "transformers:segformer?weights=random", "transformers:dpt?weights=random"
WORDS, STROKES = "open_vocabulary?prompts=red&of=", f"strokes:{SUPPORT / 'strokes.json'}"
SPLIT = f"split:{SUPPORT / 'split_net.py'}"
WRONG = {
    "hog?cell=1": "at least 2",
    "felzenszwalb?as=masks": "Known: boundaries, ids",
    "felzenszwalb?count=4": "count",
    "felzenszwalb?as=ids&count=1": "count",
    "timm:test_vit?wights=random": "Did you mean 'weights'",
    f"{VIT}&layer=99": "layers 0 to",
    f"{VIT}&layer=x": "whole number",
    f"{VIT}&height=-1": "at least 1",
    f"{VIT}&positional_field=yes": "Known: keep, subtract",
    "timm:test_maxvit?weights=random&height=64": "leave height away",
    "open_clip?weights=random": "NAME/PRETRAINED",
    CLIP: "weights once",
    f"{CLIP}/openai?weights=random": "weights once",
    f"{CLIP}?weights=/no/such/file": "no weights file",
    f"{CLIP}/openai": "use 'open_clip:ViT-B-16-quickgelu/openai'",
    "open_clip:roberta-ViT-B-32/laion2b_s12b_b32k": "trained with plain GELU",
    "transformers:segformr?weights=random": "built-in architectures.*'segformer'",
    "transformers:segformer?weights=hub": "weights can only be 'random'",
    f"{SEGFORMER}&task=depth-estimation": "no depth-estimation of a 'segf",
    "transformers:clipseg?weights=random": "give prompts=",
    f"{SEGFORMER}&input_size=64": "takes 2 whole numbers",
    f"{DPT}&cuts=dpt.encoder.layr.0": "Closest: dpt.encoder.layer.0",
    "transformers:swin2sr?weights=random&prompt=x": "Did you mean 'prompts'",
    "open_vocabulary?prompts=red": "of=tiny:clip",
    "open_vocabulary:tiny:clip?prompts=red": "plain 'open_vocabulary'",
    "open_vocabulary?prompt=red&of=hog": "Did you mean 'prompts'",
    "open_vocabulary?prompts=red teapot&of=tiny:clip": "teapot",
    f"{WORDS}hog": "reads texts.*'hog' does not",
    f"{WORDS}rgb": "'rgb' answers with image",
    # The inner operator's options are its own: written as they are, or by their codes.
    f"{WORDS}hog?cell=1": "'hog[?]cell=1' must be",
    f"{WORDS}hog?cell=6%26cells=2": "Did you mean 'cell'",
    f"{SPLIT}:__doc__?cuts=0": "gives a str; expected a torch module",
    f"{SPLIT}:net?cuts=0&mean=1,2": "'mean'.*takes 3 numbers",
    "strokes:/no/such/file.json?of=hog": "Cannot read strokes from '/no/such/file.json'",
    "strokes?of=hog": "a file of strokes",
    STROKES: "of=tiny:clip",
    f"{STROKES}?of=felzenszwalb": "answers with scalar",
    f"files:{SUPPORT}?names=mug": "exactly if names are given",
    f"files:{SUPPORT}?kind=video": "Known: image, masks, scalar",
    "tiny:superresolution?style=ink": "Unknown option of tiny",
    "tiny:style?seed=1": "Unknown option of tiny",
}
UNKNOWN = {
    "rbg": "Did you mean 'rgb'",
    "timm:vit_smal_patch14_dinov2?weights=random": "Did you mean 'vit_small_patch14_dinov2'",
    "open_clip:ViT-B-61?weights=random": "Did you mean 'ViT-B-16'",
    f"{CLIP}/laion400m": "Did you mean 'laion400m_e3",
    f"{SEGFORMER}&task=depth-estimate": "Did you mean 'depth-estimation'",
    f"{DPT}&quantity=far": "Known: depth, disparity",
    f"{WORDS}hgo": "Did you mean 'hog'",
    f"{SPLIT}:net?cuts=0&prediction=labls": "Did you mean 'labels'",
    f"{SPLIT}:net?cuts=0&quantity=dept": "Did you mean 'depth'",
    "tiny:clipp": "clip",
    "tiny:style?style=mosaik": "Did you mean 'mosaic'",
}
LEAKS = {f"{DPT}&cuts=dpt.encoder.layer.3": 'uncut paths: "neck.fusion_stage.layers.1'}


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (name, error, said)
        for error, rows in ((ConfigError, WRONG), (UnknownNameError, UNKNOWN), (ContractError, LEAKS))
        for name, said in rows.items()
    ],
)
def test_a_name_that_makes_no_operator_is_refused(name, error, said):
    with pytest.raises(error, match=said):
        build_operator(name)
