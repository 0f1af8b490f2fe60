"""Hugging Face's layout of SAM 2: its names for the weights, both ways, and its config.json.

`Sam2VideoModel` holds the whole network, `Sam2Model` the image half. A file of either has the same tensors as
Meta's under other names, except that the four point embeddings are one tensor, and that the frequencies of
the point encoding stand in it twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .config import Sam2Config

_Rows = list[tuple[str, str]]

_POINTS_META = "sam_prompt_encoder.point_embeddings.{}.weight"
_POINTS = "prompt_encoder.point_embed.weight"
_POINT_KINDS = 4
_FREQUENCIES = "prompt_encoder.shared_embedding.positional_embedding"
_FREQUENCIES_AGAIN = "shared_image_embedding.positional_embedding"


def _attention(meta: str, hugging_face: str) -> _Rows:
    rows = [(f"{meta}.{name}", f"{hugging_face}.{name}") for name in ("q_proj", "k_proj", "v_proj")]
    return [*rows, (f"{meta}.out_proj", f"{hugging_face}.o_proj")]


def _mlp(meta: str, hugging_face: str, layers: int) -> _Rows:
    """Hugging Face names the first and the last layer and counts those between."""
    middle = [(f"{meta}.layers.{i}", f"{hugging_face}.layers.{i - 1}") for i in range(1, layers - 1)]
    first = (f"{meta}.layers.0", f"{hugging_face}.proj_in")
    return [first, *middle, (f"{meta}.layers.{layers - 1}", f"{hugging_face}.proj_out")]


def _norms(meta: str, hugging_face: str, count: int) -> _Rows:
    return [(f"{meta}.norm{i}", f"{hugging_face}.layer_norm{i}") for i in range(1, count + 1)]


def _image_encoder() -> _Rows:
    meta, here = "image_encoder.trunk", "vision_encoder.backbone"
    block, block_here = f"{meta}.blocks.#", f"{here}.blocks.#"
    return [
        (f"{meta}.pos_embed", f"{here}.pos_embed"),
        (f"{meta}.pos_embed_window", f"{here}.pos_embed_window"),
        (f"{meta}.patch_embed.proj", f"{here}.patch_embed.projection"),
        (f"{block}.attn.qkv", f"{block_here}.attn.qkv"),
        (f"{block}.attn.proj", f"{block_here}.attn.proj"),
        (f"{block}.proj", f"{block_here}.proj"),
        *_norms(block, block_here, 2),
        *_mlp(f"{block}.mlp", f"{block_here}.mlp", 2),
        ("image_encoder.neck.convs.#.conv", "vision_encoder.neck.convs.#"),
    ]


def _prompt_encoder() -> _Rows:
    meta, here = "sam_prompt_encoder", "prompt_encoder"
    masks, masks_here = f"{meta}.mask_downscaling", f"{here}.mask_embed"
    return [
        (f"{meta}.pe_layer.positional_encoding_gaussian_matrix", _FREQUENCIES),
        (f"{meta}.not_a_point_embed", f"{here}.not_a_point_embed"),
        (f"{meta}.no_mask_embed", f"{here}.no_mask_embed"),
        (f"{masks}.0", f"{masks_here}.conv1"),
        (f"{masks}.1", f"{masks_here}.layer_norm1"),
        (f"{masks}.3", f"{masks_here}.conv2"),
        (f"{masks}.4", f"{masks_here}.layer_norm2"),
        (f"{masks}.6", f"{masks_here}.conv3"),
    ]


def _mask_decoder() -> _Rows:
    meta, here = "sam_mask_decoder", "mask_decoder"
    layer, layer_here = f"{meta}.transformer.layers.#", f"{here}.transformer.layers.#"
    rows = [(f"{meta}.{name}", f"{here}.{name}") for name in ("iou_token", "mask_tokens", "obj_score_token")]
    rows += [(f"{meta}.{name}", f"{here}.{name}") for name in ("conv_s0", "conv_s1")]
    for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        rows += _attention(f"{layer}.{name}", f"{layer_here}.{name}")
    last = "transformer.final_attn_token_to_image"
    return [
        *rows,
        *_norms(layer, layer_here, 4),
        *_mlp(f"{layer}.mlp", f"{layer_here}.mlp", 2),
        *_attention(f"{meta}.{last}", f"{here}.{last}"),
        (f"{meta}.transformer.norm_final_attn", f"{here}.transformer.layer_norm_final_attn"),
        (f"{meta}.output_upscaling.0", f"{here}.upscale_conv1"),
        (f"{meta}.output_upscaling.1", f"{here}.upscale_layer_norm"),
        (f"{meta}.output_upscaling.3", f"{here}.upscale_conv2"),
        *_mlp(f"{meta}.output_hypernetworks_mlps.#", f"{here}.output_hypernetworks_mlps.#", 3),
        *_mlp(f"{meta}.iou_prediction_head", f"{here}.iou_prediction_head", 3),
        *_mlp(f"{meta}.pred_obj_score_head", f"{here}.pred_obj_score_head", 3),
    ]


def _memory() -> _Rows:
    layer = "memory_attention.layers.#"
    down, down_here = "memory_encoder.mask_downsampler.encoder", "memory_encoder.mask_downsampler"
    fuser, fuser_here = "memory_encoder.fuser.layers.#", "memory_encoder.memory_fuser.layers.#"
    rows = [(f"{layer}.{name}", f"{layer}.{name}") for name in ("linear1", "linear2")]
    for i in range(4):
        rows.append((f"{down}.{3 * i}", f"{down_here}.layers.{i}.conv"))
        rows.append((f"{down}.{3 * i + 1}", f"{down_here}.layers.{i}.layer_norm"))
    return [
        *rows,
        *_attention(f"{layer}.self_attn", f"{layer}.self_attn"),
        *_attention(f"{layer}.cross_attn_image", f"{layer}.cross_attn_image"),
        *_norms(layer, layer, 3),
        ("memory_attention.norm", "memory_attention.layer_norm"),
        (f"{down}.12", f"{down_here}.final_conv"),
        ("memory_encoder.pix_feat_proj", "memory_encoder.feature_projection"),
        (f"{fuser}.gamma", f"{fuser_here}.scale"),
        (f"{fuser}.dwconv", f"{fuser_here}.depthwise_conv"),
        (f"{fuser}.norm", f"{fuser_here}.layer_norm"),
        (f"{fuser}.pwconv1", f"{fuser_here}.pointwise_conv1"),
        (f"{fuser}.pwconv2", f"{fuser_here}.pointwise_conv2"),
        ("memory_encoder.out_proj", "memory_encoder.projection"),
        ("mask_downsample", "mask_downsample"),
        ("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("no_mem_embed", "no_memory_embedding"),
        ("no_mem_pos_enc", "no_memory_positional_encoding"),
        ("no_obj_ptr", "no_object_pointer"),
        ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
        ("obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
        *_mlp("obj_ptr_proj", "object_pointer_proj", 3),
    ]


_ROWS = [*_image_encoder(), *_prompt_encoder(), *_mask_decoder(), *_memory()]
"""Meta's and Hugging Face's name of every module or lone tensor; # is a number that both share."""


def _rename(key: str, rows: _Rows) -> str:
    """The name in the second column of a key whose module is in the first; unknown keys stay."""
    for pattern, target in rows:
        found = re.fullmatch(re.escape(pattern).replace(r"\#", r"(\d+)") + r"(\.weight|\.bias)?", key)
        if found:
            *numbers, leaf = found.groups()
            for number in numbers:
                target = target.replace("#", number, 1)
            return target + (leaf or "")
    return key


def is_hugging_face(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has Hugging Face's names."""
    return any(key.startswith("vision_encoder.backbone.") for key in state)


def from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with Hugging Face's names under Meta's; keys of neither stay as they are."""
    rest = dict(state)
    again = rest.pop(_FREQUENCIES_AGAIN, None)
    if again is not None:
        rest.setdefault(_FREQUENCIES, again)
    points = rest.pop(_POINTS, None)
    rows = [(theirs, meta) for meta, theirs in _ROWS]
    converted = {_rename(key, rows): value for key, value in rest.items()}
    if points is not None:
        for kind, row in enumerate(points.split(1)):
            converted[_POINTS_META.format(kind)] = row
    return converted


def to_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with Meta's names under Hugging Face's."""
    rest = dict(state)
    points = [rest.pop(_POINTS_META.format(kind)) for kind in range(_POINT_KINDS)]
    converted = {_rename(key, _ROWS): value for key, value in rest.items()}
    converted[_POINTS] = torch.cat(points)
    converted[_FREQUENCIES_AGAIN] = converted[_FREQUENCIES].clone()
    return converted


def describe(config: Sam2Config, images_only: bool) -> dict[str, Any]:
    """The config.json with which transformers builds the same network."""
    hiera, s, c = config.hiera, config.embedding_size, config.hidden_dim
    widths = [hiera.width * 2**stage for stage in range(4)]
    prefix = "sam2" if images_only else "sam2_video"
    image: dict[str, Any] = {
        "architectures": ["Sam2Model" if images_only else "Sam2VideoModel"],
        "model_type": prefix,
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_channel_list": widths[::-1],
            "backbone_feature_sizes": [[4 * s, 4 * s], [2 * s, 2 * s], [s, s]],
            "fpn_hidden_size": c,
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": hiera.width,
                "num_attention_heads": hiera.heads,
                "image_size": [config.image_size, config.image_size],
                "embed_dim_per_stage": widths,
                "num_attention_heads_per_stage": [hiera.heads * 2**stage for stage in range(4)],
                "blocks_per_stage": list(hiera.depths),
                "global_attention_blocks": list(hiera.global_blocks),
                "window_size_per_stage": list(hiera.windows),
                "window_positional_embedding_background_size": [hiera.position_grid] * 2,
            },
        },
        "prompt_encoder_config": {
            "model_type": f"{prefix}_prompt_encoder",
            "hidden_size": c,
            "image_size": config.image_size,
        },
        "mask_decoder_config": {
            "model_type": f"{prefix}_mask_decoder",
            "hidden_size": c,
            "mlp_dim": config.decoder_mlp_dim,
            "num_attention_heads": config.decoder_heads,
            "iou_head_hidden_dim": config.iou_head_dim,
        },
    }
    if images_only:
        return image
    return image | {
        "image_size": config.image_size,
        "num_maskmem": config.num_memories,
        "max_object_pointers_in_encoder": config.max_pointers,
        "enable_occlusion_spatial_embedding": config.generation == "2.1",
        "enable_temporal_pos_encoding_for_object_pointers": config.generation == "2.1",
        "memory_attention_hidden_size": c,
        "memory_attention_num_layers": config.memory_layers,
        "memory_attention_feed_forward_hidden_size": config.memory_mlp_dim,
        "memory_attention_rope_feat_sizes": [s, s],
        "memory_encoder_hidden_size": c,
        "memory_encoder_output_channels": config.memory_dim,
        "mask_downsampler_embed_dim": c,
        "memory_fuser_embed_dim": c,
        "memory_fuser_intermediate_dim": 4 * c,
    }


def read_image_size(content: Mapping[str, Any]) -> Any:
    """S [px] of a config.json, whatever stands there; None where it does not say."""
    backbone = content.get("vision_config", {}).get("backbone_config", {})
    size = backbone.get("image_size", content.get("image_size"))
    return size[0] if isinstance(size, list) and len(size) == 2 and size[0] == size[1] else size
