"""Rows of `gpu.py`: our executors on a stream and on a clip, and the other programs, with equal weights."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from gpu_report import Row
from measuring import FULL, Spread, Timed, there_and_back
from numpy.typing import NDArray
from programs_beside import (
    Images,
    Program,
    Steps,
    checkpoint_of,
    official,
    official_compiled,
    track,
    transformers,
)
from roofline import Rates, synchronise, tracking_costs
from speed import prompts

from sam2_core.backends import Backend, BackendOptions, LoadedBackend, load_backend
from sam2_core.model import Sam2Network
from sam2_core.model.checkpoint import write_checkpoint
from sam2_core.tracking import VideoSegmenter
from sam2_core.tracking.rehearsal import rehearse

EXECUTORS = ("torch", "onnxruntime", "tensorrt")
"""Of ours, as `backend` names them."""
BESIDE: dict[str, Program] = {
    "official": official,
    "official, compiled": official_compiled,
    "transformers": transformers,
}
COMPILING = 5
"""Frames with a full memory that compiled programs may still spend on compiling."""


class ImageFrames:
    """Images as a recorded clip."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._images[index]

    def stamp(self, index: int) -> int:
        return index


def clip_steps(backend: Backend, objects: int, images: Images) -> Steps:
    """Our video segmenter."""
    segmenter = VideoSegmenter(backend, ImageFrames(images))
    for given in prompts(objects):
        segmenter.add_prompt(0, given.prompt)
    for _, result in segmenter.propagate():
        yield [one.mask for one in result.objects]


def time_steps(steps: Iterator[object], settled: int, frames: int, device: torch.device) -> list[float]:
    """Seconds of each of `frames` frames after `settled` ones."""
    for _ in islice(steps, settled):
        pass
    synchronise(device)
    seconds = []
    for _ in range(frames):
        started = time.perf_counter()
        next(steps)
        seconds.append(time.perf_counter() - started)
    return seconds


class DeviceMemory:
    """What a program takes of a GPU's memory from now on, whoever allocates it: PyTorch, TensorRT, CUDA."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = self._used()

    def forget_peak(self) -> None:
        """What PyTorch held for a moment, and keeps for later, counts no more."""
        if self._device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()

    def megabytes(self) -> float | None:
        """At most since the peak was forgotten; None on a CPU."""
        return round((self._used() - self._before) / 1e6, 1) if self._device.type == "cuda" else None

    def _used(self) -> int:
        if self._device.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


class Measurement:
    """One model on one device.

    Args:
        network: with its weights in float32, on the device.
        frames: that are timed.
        rates: of the device.
        threads: that compute on a CPU.
        workspace: as in `BackendOptions`.
    """

    def __init__(
        self, network: Sam2Network, frames: int, rates: Rates, threads: int, workspace: int = 0
    ) -> None:
        self._network, self._device, self._frames, self._rates = network, network.device, frames, rates
        self._threads, self._workspace = threads, workspace
        self._settled = FULL + COMPILING
        self._images = there_and_back(self._settled + frames)

    def load(self, executor: str) -> LoadedBackend:
        """One of `EXECUTORS` with the network's weights; another one where it cannot run here."""
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pt"
            write_checkpoint(checkpoint_of(self._network), weights)
            options = BackendOptions(
                backend=executor,
                model=self._network.config.name,
                checkpoint=weights,
                image_size=self._network.config.image_size,
                device=str(self._device),
                threads=self._threads,
                # For engines; on a CPU only where ONNX Runtime is asked for, not where it would step in.
                may_export=self._device.type == "cuda",
                workspace=self._workspace,
            )
            return load_backend(options, lambda line: print(line, flush=True), rehearse)

    def ours(self, executor: str, counts: Sequence[int]) -> list[Row]:
        """An executor on a stream and on a clip, for so many objects; or why it cannot run here."""
        memory = DeviceMemory(self._device)
        loaded = self.load(executor)
        if loaded.kind != executor:
            row = self._new_row(f"ours, {executor}, stream", counts[0])
            return [row.replaced(failed=f"cannot run: {loaded.reason}")]
        rows: list[Row] = []
        for count in counts:
            timed = Timed(loaded.backend)
            steps = partial(track, timed, count, self._images)
            stream = self._row(f"ours, {executor}, stream", count, memory, steps)
            if not stream.failed:
                stream = self._with_roofline(stream, loaded.network, timed.spreads(self._frames))
            steps = partial(clip_steps, loaded.backend, count, self._images)
            rows += [stream, self._row(f"ours, {executor}, clip", count, memory, steps)]
        return [row.replaced(executor=loaded.name) for row in rows]

    def beside(self, name: str, count: int) -> Row:
        """One of the other programs."""
        memory = DeviceMemory(self._device)
        return self._row(name, count, memory, partial(BESIDE[name], self._network, count, self._images))

    def _new_row(self, program: str, objects: int) -> Row:
        config = self._network.config
        return Row(config.name, config.image_size, objects, program)

    def _row(self, program: str, objects: int, memory: DeviceMemory, start: Callable[[], Steps]) -> Row:
        row = self._new_row(program, objects)
        print(f"{row.model}, {objects} objects: {program}", flush=True)
        memory.forget_peak()
        try:
            seconds = time_steps(start(), self._settled, self._frames, self._device)
        except Exception as error:  # of programs that are not ours: the others are to be measured still
            lines = str(error).splitlines() or [""]
            return row.replaced(failed=f"{type(error).__name__}: {lines[0]}")
        return row.replaced(
            frame=Spread.of(seconds),
            frames_per_second=round(len(seconds) / sum(seconds), 3),
            device_mb=memory.megabytes(),
        )

    def _with_roofline(self, row: Row, network: Sam2Network, stages: dict[str, Spread]) -> Row:
        assert row.frame is not None
        costs = tracking_costs(network, row.objects)
        flop, moved = sum(cost.flop for cost in costs.values()), sum(cost.bytes for cost in costs.values())
        seconds = row.frame.median / 1e3
        least = sum(max(c.flop / self._rates.flops, c.bytes / self._rates.bytes) for c in costs.values())
        return row.replaced(
            stages=stages,
            gflop=round(flop / 1e9, 2),
            gbyte=round(moved / 1e9, 4),
            share=round(flop / seconds / self._rates.flops, 4),
            bound=round(least / seconds, 4),
        )
