"""The mask decoder: two-way transformer, multimask, predicted IoU, occlusion head (paper, section 4, D.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Sam2Config
from .layers import LayerNorm2d, ObjectAttention, ObjectMLP, flatten_map, unflatten_map
from .prompt_encoder import PromptTokens

NUM_MASKS = 4
"""One mask for unambiguous prompts (index 0) and three candidates for ambiguous ones (1 to 3)."""
OUTPUT_TOKENS = 2 + NUM_MASKS
"""The decoder's own tokens, which stand before those of the prompt: object score, IoU, masks."""


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image attends to the tokens."""

    def __init__(self, dim: int, heads: int, mlp_dim: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = ObjectAttention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = ObjectAttention(dim, heads, inner_dim=dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ObjectMLP((dim, mlp_dim, dim))
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = ObjectAttention(dim, heads, inner_dim=dim // 2)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_positions: Tensor,
        image_positions: Tensor,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens `[N, T, C]` and image `[N, L, C]`, both with what was added to them as position."""
        if self.first:
            # The tokens are their own positions here, and nothing has been computed yet to add to.
            tokens = self.self_attn(tokens, tokens, tokens, mask)
        else:
            q = tokens + token_positions
            tokens = tokens + self.self_attn(q, q, tokens, mask)
        tokens = self.norm1(tokens)
        keys = image + image_positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_positions, keys, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        read = self.cross_attn_image_to_token(keys, tokens + token_positions, tokens, mask)
        return tokens, self.norm4(image + read)


class TwoWayTransformer(nn.Module):
    """Two blocks and a last attention from the tokens to the image."""

    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, mlp_dim, first) for first in (True, False))
        self.final_attn_token_to_image = ObjectAttention(dim, heads, inner_dim=dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_positions: Tensor, tokens: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Image `[N, L, C]`, its positions `[L, C]`, tokens `[N, T, C]`; returns tokens and image.

        `mask` says which tokens may be read, as in `Attention.attend`; None: all of them.
        """
        token_positions = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, image_positions, mask)
        read = self.final_attn_token_to_image(tokens + token_positions, image + image_positions, image)
        return self.norm_final_attn(tokens + read), image


class MaskDecoder(nn.Module):
    """Predicts all four masks of N objects, their quality, and whether the object is there."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.transformer = TwoWayTransformer(dim, config.decoder_heads, config.decoder_mlp_dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(NUM_MASKS, dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            ObjectMLP((dim, dim, dim, dim // 8)) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = ObjectMLP((dim, config.iou_head_dim, config.iou_head_dim, NUM_MASKS))
        self.pred_obj_score_head = ObjectMLP((dim, dim, dim, 1))

    def upscale(self, image: Tensor, skip4: Tensor, skip8: Tensor) -> Tensor:
        """Embedding `[N, C, s, s]` to `[N, C / 8, 4s, 4s]`, with the high-resolution skips added."""
        up8, norm, activation, up4, _ = self.output_upscaling
        x = activation(norm(up8(image) + skip8))
        return activation(up4(x) + skip4)

    def forward(
        self,
        embedding: Tensor,
        positions: Tensor,
        skip4: Tensor,
        skip8: Tensor,
        prompts: PromptTokens,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decodes N objects.

        Args:
            embedding: `[N, C, s, s]`, conditioned on the memory or not.
            positions: `[s * s, C]`, the prompt encoder's dense positions.
            skip4: `[1 or N, C / 8, 4s, 4s]`.
            skip8: `[1 or N, C / 4, 2s, 2s]`.
            prompts: encoded prompts of the N objects.
            mask: `[N, 1, 1, OUTPUT_TOKENS + P + 1]`, which of its own tokens and the prompt's may be read, as
                in `Attention.attend`; None: all of them.

        Returns:
            Mask logits `[N, 4, 4s, 4s]`, predicted IoU `[N, 4]` in 0 to 1, mask tokens `[N, 4, C]`,
            object score logit `[N]`.
        """
        output_tokens = torch.cat(
            [self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight]
        )
        output_tokens = output_tokens.expand(len(prompts.sparse), -1, -1)
        tokens = torch.cat([output_tokens, prompts.sparse], dim=1)
        image = flatten_map(embedding + prompts.dense)
        tokens, image = self.transformer(image, positions, tokens, mask)

        masks = tokens[:, 2:OUTPUT_TOKENS]
        upscaled = self.upscale(unflatten_map(image, embedding.shape[-1]), skip4, skip8)
        weights = torch.cat(
            [mlp(masks[:, i : i + 1]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        iou = F.sigmoid(self.iou_prediction_head(tokens[:, 1:2]).squeeze(1))
        score = self.pred_obj_score_head(tokens[:, :1]).flatten()
        return logits, iou, masks, score
