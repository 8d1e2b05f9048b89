"""Small configurations of architectures, for ``transformers:NAME?weights=random``: to try and to test, not to use.

Each is a published architecture with few layers and channels; only what differs from its defaults is written.
"""

from typing import Any

_ATTENTION = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}

TINY: dict[str, dict[str, Any]] = {
    "segformer": {
        "architectures": ["SegformerForSemanticSegmentation"],
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 16, 24, 32],
        "num_attention_heads": [1, 2, 2, 4],
        "decoder_hidden_size": 16,
        "id2label": {"0": "wall", "1": "floor", "2": "chair", "3": "table"},
    },
    "mask2former": {
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "backbone_config": {
            "model_type": "swin",
            "image_size": 32,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        # Its group norms want multiples of 32.
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
        "dim_feedforward": 32,
        "num_attention_heads": 2,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "num_queries": 6,
    },
    "dpt": {
        "architectures": ["DPTForDepthEstimation"],
        **_ATTENTION,
        "num_hidden_layers": 4,
        "image_size": 64,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 8, 16, 16],
        "fusion_hidden_size": 16,
        "is_hybrid": False,
    },
    "depth_anything": {
        "architectures": ["DepthAnythingForDepthEstimation"],
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": 32,
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "image_size": 70,
            "patch_size": 14,
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": False,
        },
        "reassemble_hidden_size": 32,
        "neck_hidden_sizes": [8, 16, 16, 16],
        "fusion_hidden_size": 16,
        "head_hidden_size": 8,
    },
    "swin2sr": {
        "architectures": ["Swin2SRForImageSuperResolution"],
        "embed_dim": 16,
        "depths": [2],
        "num_heads": [2],
        "window_size": 4,
    },
    "sam": {
        "architectures": ["SamModel"],
        "vision_config": {
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "global_attn_indexes": [1],
            "window_size": 4,
            "mlp_dim": 64,
            "num_pos_feats": 8,
        },
        "prompt_encoder_config": {"hidden_size": 16, "image_size": 64, "patch_size": 8},
        "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    },
    "clipseg": {
        "architectures": ["CLIPSegForImageSegmentation"],
        "text_config": {
            **_ATTENTION,
            "num_hidden_layers": 2,
            "vocab_size": 258,
            "max_position_embeddings": 32,
            "projection_dim": 32,
            "bos_token_id": 256,
            "eos_token_id": 257,
            "pad_token_id": 257,
        },
        "vision_config": {**_ATTENTION, "num_hidden_layers": 3, "image_size": 64, "patch_size": 8},
        "projection_dim": 32,
        "extract_layers": [0, 1, 2],
        "reduce_dim": 16,
        "decoder_intermediate_size": 32,
    },
}
