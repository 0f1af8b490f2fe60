"""Stage by stage and as an image segmenter, the network gives the official implementation's numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from official import image_predictor, transforms, twin
from random_weights import scaled_network
from torch import Tensor

from sam2_core.model import MemoryTokens
from sam2_core.model.preprocess import preprocess
from sam2_core.tracking import ImageSegmenter, MaskPrompt, PointPrompt, Prompt
from sam2_core.tracking.prompts import mask_logits, to_square_mask

SIZE = 256
PHOTOGRAPH = skimage.data.coffee()


def assert_close(ours: Tensor, official: Tensor) -> None:
    """Within a ten-thousandth of the values' deviation: what rounding amounts to in a deep network."""
    tolerance = 1e-4 * float(official.std()) if official.numel() > 1 else 1e-4
    torch.testing.assert_close(ours, official, rtol=0, atol=tolerance + 1e-6)


@pytest.mark.parametrize("size", [256, 1024])
@pytest.mark.parametrize("photograph", ["coffee", "chelsea", "astronaut"])
def test_images_are_prepared_as_officially(photograph: str, size: int) -> None:
    image = getattr(skimage.data, photograph)()
    torch.testing.assert_close(preprocess(image, size), transforms(size)(image), rtol=0, atol=1e-5)


def random_memory(official: Any, generator: torch.Generator) -> tuple[MemoryTokens, dict[str, Any]]:
    """What is read on frame 8 after frames 0 to 7, of which 0 and 2 were prompted; ours and officially."""
    side = official.sam_image_embedding_size
    maps = torch.randn(1, 8, official.mem_dim, side, side, generator=generator)
    pointers = torch.randn(1, 8, official.hidden_dim, generator=generator)
    # Frame 1 is out of reach for maps, which go six frames back; its pointer is read.
    rows = {0: 6, 2: 6, 3: 4, 4: 3, 5: 2, 6: 1, 7: 0}
    ours = MemoryTokens(
        maps=maps[:, list(rows)],
        rows=torch.tensor([list(rows.values())]),
        pointers=pointers,
        offsets=8.0 - torch.arange(8)[None],
    )
    outputs = [
        {
            "maskmem_features": maps[:, frame],
            "maskmem_pos_enc": [official.memory_encoder.position_encoding(maps[:, frame])],
            "obj_ptr": pointers[:, frame],
        }
        for frame in range(8)
    ]
    prompted = {frame: outputs[frame] for frame in (0, 2)}
    tracked = {frame: outputs[frame] for frame in (1, 3, 4, 5, 6, 7)}
    return ours, {"cond_frame_outputs": prompted, "non_cond_frame_outputs": tracked}


@pytest.mark.parametrize(
    "name",
    [
        "sam2.1_hiera_tiny",
        "sam2.1_hiera_small",
        "sam2.1_hiera_base_plus",
        "sam2.1_hiera_large",
        "sam2_hiera_tiny",
    ],
)
@torch.inference_mode()
def test_every_stage_of_every_model(name: str) -> None:
    size = 128
    network = scaled_network(name, PHOTOGRAPH, size)
    official = twin(network, video=False)
    generator = torch.Generator().manual_seed(1)
    pixels = preprocess(PHOTOGRAPH, size)[None]

    features = network.encode_image(pixels)
    backbone = official.forward_image(pixels)
    for ours, theirs in zip(
        (features.skip4, features.skip8, features.embedding), backbone["backbone_fpn"], strict=True
    ):
        assert_close(ours, theirs)

    _, maps, positions, sizes = official._prepare_backbone_features(backbone)
    memory, official_memory = random_memory(official, generator)
    expected = official._prepare_memory_conditioned_features(
        frame_idx=8,
        is_init_cond_frame=False,
        current_vision_feats=maps[-1:],
        current_vision_pos_embeds=positions[-1:],
        feat_sizes=sizes[-1:],
        output_dict=official_memory,
        num_frames=1000,
    )
    assert_close(network.attend_memory(features.embedding, memory), expected)

    points = torch.rand(1, 6, 2, generator=generator) * size
    labels = torch.tensor([[2, 3, 1, 0, 1, -1]])
    prior = 5 * torch.randn(1, 1, size // 4, size // 4, generator=generator)
    prompts = network.encode_prompts(points, labels, prior)
    sparse, dense = official.sam_prompt_encoder(points=(points, labels), boxes=None, masks=prior)
    assert_close(prompts.sparse, sparse)
    assert_close(prompts.dense, dense)

    decoded = network.decode_masks(expected, features.skip4, features.skip8, prompts)
    logits, iou, tokens, score = official.sam_mask_decoder.predict_masks(
        image_embeddings=expected,
        image_pe=official.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=backbone["backbone_fpn"][:2],
    )
    assert_close(decoded.logits, logits)
    assert_close(decoded.iou, iou)
    assert_close(decoded.pointers, official.obj_ptr_proj(tokens))
    assert_close(decoded.score, score[:, 0])

    large = torch.nn.functional.interpolate(logits[:, :1], (size, size), mode="bilinear")
    for object_score in (torch.tensor([-1.0]), torch.tensor([1.0])):
        encoded, _ = official._encode_new_memory(maps, sizes, large, object_score[:, None], False)
        assert_close(network.encode_memory(features.embedding, logits[:, :1], object_score), encoded)


@cache
def segmenters() -> tuple[ImageSegmenter, Any]:
    """Ours and the official one, with the photograph set."""
    network = scaled_network("sam2.1_hiera_tiny", PHOTOGRAPH, SIZE)
    ours, official = ImageSegmenter(network), image_predictor(network)
    ours.set_image(PHOTOGRAPH)
    official.set_image(PHOTOGRAPH)
    return ours, official


POINT = PointPrompt([[300, 200]], [1])
POINTS = PointPrompt([[300, 200], [80.5, 60.25], [420, 330]], [1, 0, 1])
BOX = PointPrompt(box=[120, 80, 450, 340])
BOX_AND_POINT = PointPrompt([[200, 300]], [0], box=[120, 80, 450, 340])


def official_arguments(prompt: Prompt) -> dict[str, Any]:
    """A prompt as the arguments of the official predictor."""
    if isinstance(prompt, MaskPrompt):
        logits = mask_logits(to_square_mask(prompt, SIZE, torch.device("cpu")))
        return {"mask_input": logits[0].numpy()}
    points = {"point_coords": prompt.points, "point_labels": prompt.labels} if len(prompt.points) else {}
    return {"box": prompt.box, **points}


def assert_same_answer(
    prompt: Prompt, multimask: bool, previous_logits: NDArray[np.float32] | None = None
) -> None:
    ours, official = segmenters()
    asked = official_arguments(prompt)
    if previous_logits is not None:
        asked["mask_input"] = previous_logits[None]
    answer = ours.predict(prompt, multimask, previous_logits)
    large, iou, logits = official.predict(**asked, multimask_output=multimask, return_logits=True)
    best_first = np.argsort(-iou, kind="stable")
    np.testing.assert_allclose(answer.logits, logits[best_first], rtol=0, atol=2e-3)
    np.testing.assert_allclose(answer.iou, iou[best_first], rtol=0, atol=1e-5)
    large = large[best_first]
    # Where a logit is as good as zero, rounding decides on the pixel.
    np.testing.assert_array_equal((answer.masks != (large > 0)) & (np.abs(large) > 0.01), False)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize(
    "prompt", [POINT, POINTS, BOX, BOX_AND_POINT], ids=["point", "points", "box", "both"]
)
def test_points_and_boxes_are_segmented_as_officially(prompt: PointPrompt, multimask: bool) -> None:
    assert_same_answer(prompt, multimask)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("prompt", [POINT, BOX], ids=["point", "box"])
def test_refining_an_answer_is_official(prompt: PointPrompt, multimask: bool) -> None:
    ours, _ = segmenters()
    assert_same_answer(prompt, multimask, ours.predict(POINT, multimask=True).logits[0])


@pytest.mark.parametrize("multimask", [False, True])
def test_a_mask_alone_is_official(multimask: bool) -> None:
    y, x = np.mgrid[:400, :600]
    assert_same_answer(MaskPrompt((x - 300) ** 2 + (y - 200) ** 2 < 120**2), multimask)
