"""A backend of programs: it fits what the tracker asks for into buckets, and leaves the rest to torch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..model import DecodedMasks, ImageFeatures, MemoryTokens, PromptTokens, Sam2Config, Sam2Network
from .programs import PROMPT_TOKENS, STAGES, Bucket, Program, Signature, signature


class StagedBackend:
    """Executes the stages with programs of fixed shapes; implements `Backend`.

    Objects and histories are padded to the smallest bucket that holds them, with slots that are not valid;
    more objects than the largest bucket holds go one bucket after the other. What no program covers (a stage
    without one, a longer history, a prompt of more tokens) runs in torch, and so do the small parts: prompts
    and pointers. What comes out is never a program's own buffer.

    Args:
        network: runs what the programs leave; gives configuration and device.
        programs: by bucket, for the network's device.
        executor: what the programs are, for people: "ONNX Runtime 1.23.0".
    """

    def __init__(self, network: Sam2Network, programs: Mapping[Bucket, Program], executor: str) -> None:
        self.network = network
        self.config: Sam2Config = network.config
        self._programs = {
            bucket: _Padded(program, signature(bucket, network.config), network.device)
            for bucket, program in programs.items()
        }
        self._executor = executor
        with torch.inference_mode():
            self._no_prompt = network.encode_prompts(None, None)

    @property
    def device(self) -> torch.device:
        """Where tensors go in and come out."""
        return self.network.device

    def describe(self) -> dict[str, str]:
        """What runs each stage, and for how many objects at once."""
        described = {}
        for stage in STAGES:
            objects = sorted({bucket.objects for bucket in self._programs if bucket.stage == stage})
            described[stage] = (
                f"{self._executor}, {'/'.join(map(str, objects))} at once" if objects else "torch"
            )
        return described

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Stage 1, image by image."""
        program = self._programs.get(Bucket("encode_image"))
        if program is None:
            return self.network.encode_image(pixels)
        images = [program({"pixels": image[None]}, 1) for image in pixels]
        return ImageFeatures(*(torch.cat(parts) for parts in zip(*images, strict=True)))

    def without_memory(self, embedding: Tensor) -> Tensor:
        """As `Sam2Network.without_memory`."""
        return self.network.without_memory(embedding)

    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        """Stage 2."""
        objects, maps = memory.rows.shape
        pointers = memory.offsets.shape[1]
        inputs = {
            "maps": memory.maps,
            "rows": memory.rows,
            "pointers": memory.pointers,
            "offsets": memory.offsets,
            "map_valid": _or_all(memory.map_valid, memory.rows),
            "pointer_valid": _or_all(memory.pointer_valid, memory.offsets),
        }
        outputs = self._run("attend_memory", objects, {"embedding": embedding}, inputs, maps, pointers)
        return self.network.attend_memory(embedding, memory) if outputs is None else outputs[0]

    def encode_prompts(
        self, points: Tensor | None, labels: Tensor | None, mask_logits: Tensor | None = None
    ) -> PromptTokens:
        """As `Sam2Network.encode_prompts`."""
        if points is None and mask_logits is None:
            return self._no_prompt
        return self.network.encode_prompts(points, labels, mask_logits)

    def encode_mask_prompt(self, mask: Tensor) -> PromptTokens:
        """As `Sam2Network.encode_mask_prompt`."""
        return self.network.encode_mask_prompt(mask)

    def decode_masks(
        self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens
    ) -> DecodedMasks:
        """Stage 3."""
        objects = max(len(embedding), len(prompts.sparse))
        frame = {"skip4": skip4, "skip8": skip8}
        inputs = {"embedding": embedding.expand(objects, -1, -1, -1)}
        stage = "decode_tracked"
        if prompts is not self._no_prompt:
            stage = "decode_prompted"
            inputs["sparse"] = prompts.sparse.expand(objects, -1, -1)
            inputs["token_valid"] = inputs["sparse"].new_ones(inputs["sparse"].shape[:2], dtype=torch.bool)
            inputs["dense"] = prompts.dense.expand_as(inputs["embedding"])
        fits = prompts.sparse.shape[1] <= PROMPT_TOKENS
        outputs = self._run(stage, objects, frame, inputs) if fits else None
        if outputs is None:
            return self.network.decode_masks(embedding, skip4, skip8, prompts)
        return DecodedMasks(*outputs)

    def hide_pointer(self, pointer: Tensor, score: Tensor) -> Tensor:
        """As `Sam2Network.hide_pointer`."""
        return self.network.hide_pointer(pointer, score)

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor:
        """Stage 4."""
        inputs = {
            "logits": logits,
            "score": score,
            "binarize": torch.full(score.shape, binarize, device=score.device),
        }
        outputs = self._run("encode_memory", len(score), {"embedding": embedding}, inputs)
        if outputs is None:
            return self.network.encode_memory(embedding, logits, score, binarize)
        return outputs[0]

    def _run(
        self,
        stage: str,
        objects: int,
        frame: dict[str, Tensor],
        inputs: dict[str, Tensor],
        maps: int = 0,
        pointers: int = 0,
    ) -> list[Tensor] | None:
        """Runs a stage for so many objects on one frame, in as few and as small buckets as there are.

        Args:
            stage: one of `STAGES`.
            objects: N.
            frame: what the objects share; a batch of more than one is not covered.
            inputs: `[N, ...]`, what each has of its own.
            maps: K of the inputs.
            pointers: P of the inputs.

        Returns:
            The outputs in the order of the signature; None: no program covers it.
        """
        fitting = [
            bucket
            for bucket in self._programs
            if bucket.stage == stage and bucket.maps >= maps and bucket.pointers >= pointers
        ]
        if not fitting or any(len(shared) > 1 for shared in frame.values()):
            return None
        parts = []
        done = 0
        while done < objects:
            left = objects - done
            bucket = min(
                fitting, key=lambda bucket: (-min(bucket.objects, left), bucket.objects, bucket.maps)
            )
            count = min(bucket.objects, left)
            mine = {name: value[done : done + count] for name, value in inputs.items()}
            parts.append(self._programs[bucket]({**frame, **mine}, count))
            done += count
        return parts[0] if len(parts) == 1 else [torch.cat(part) for part in zip(*parts, strict=True)]


class _Padded:
    """A program that takes fewer objects and slots than it has room for."""

    def __init__(self, program: Program, expected: Signature, device: torch.device) -> None:
        self._program = program
        self._signature = expected
        self._device = device
        self._rooms: dict[str, Tensor] = {}

    def __call__(self, inputs: Mapping[str, Tensor], objects: int) -> list[Tensor]:
        """Runs it on the corner that the inputs fill; returns copies of what concerns the first `objects`."""
        filled = {name: self._fill(name, inputs[name]) for name in self._signature.inputs}
        outputs = self._program(filled)
        return [outputs[name][:objects].clone() for name in self._signature.outputs]

    def _fill(self, name: str, value: Tensor) -> Tensor:
        """The input at its full size: itself, or copied into a room that is allocated once."""
        spec = self._signature.inputs[name]
        if value.shape == spec.shape and value.dtype == spec.dtype and value.is_contiguous():
            return value
        if name not in self._rooms:
            with torch.inference_mode(False):  # so that it may be filled in any mode
                self._rooms[name] = torch.zeros(spec.shape, dtype=spec.dtype, device=self._device)
        room = self._rooms[name]
        if spec.dtype == torch.bool:
            room.zero_()  # nothing beyond the corner is valid
        room[tuple(map(slice, value.shape))].copy_(value)
        return room


def _or_all(valid: Tensor | None, like: Tensor) -> Tensor:
    """Which slots `[N, K]` are valid; None means all."""
    return torch.ones_like(like, dtype=torch.bool) if valid is None else valid
