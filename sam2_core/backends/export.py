"""The network's stages as ONNX graphs of fixed shapes, with a manifest; needs onnx and onnxscript."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxscript
import torch
from onnxscript import opset20

from ..model import Sam2Network
from .graph_check import check_graph
from .manifest import WEIGHTS, ExportedGraph, Manifest, graph_digest, write_manifest
from .programs import Bucket, TensorSpec, signature
from .stages import stage_module

op: Any = opset20  # its annotations know no tensors of a type that is yet to be found
OPSET = opset20.version
"""The newest one that TensorRT 10.3 reads; from 17 on layer norm, from 20 on GELU are operators."""

OLDEST_TORCH = (2, 6)
"""The first that takes `custom_translation_table`."""
_SMALL = 1024
"""Tensors of fewer bytes stay in the graph."""
_ALIGNMENT = 4096
"""Of tensors in the file of weights [bytes], so that it may be mapped into memory."""
_HALF = {"fp32": None, "bf16": torch.bfloat16, "fp16-mixed": torch.float16}
_HEAVY = ("encode_image", "attend_memory", "encode_memory")
"""Stages whose products may be in half precision: the decoder's share of the time is 1 %."""


class ExportError(RuntimeError):
    """Stages cannot be exported here; the message says why."""


def export_stages(
    network: Sam2Network,
    fingerprint: str,
    folder: Path,
    precision: str,
    buckets: Sequence[Bucket],
    report: Callable[[Bucket], None] = lambda bucket: None,
) -> Manifest:
    """Writes one ONNX file per bucket, the weights that they share, and, last, the manifest.

    Args:
        network: in float32.
        fingerprint: of its checkpoint.
        folder: is made where it is not there.
        precision: one of `EXPORT_PRECISIONS`.
        buckets: what to export.
        report: is called with each bucket when it is done.

    Raises:
        ExportError: this PyTorch is too old.
        GraphError: a graph holds what TensorRT's parser does not take.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = _SharedWeights(folder)
    for bucket in buckets:
        graph = export_graph(network, bucket, precision)
        check_graph(graph)
        weights.move_from(graph)
        onnx.save_model(graph, folder / f"{bucket.name}.onnx")
        report(bucket)
    files = [(bucket, f"{bucket.name}.onnx") for bucket in buckets]
    manifest = Manifest(
        model=network.config.name,
        image_size=network.config.image_size,
        fingerprint=fingerprint,
        precision=precision,
        opset=OPSET,
        tools={module.__name__: module.__version__ for module in (torch, onnx, onnxscript)},
        graphs=tuple(ExportedGraph(bucket, file, graph_digest(folder / file)) for bucket, file in files),
    )
    write_manifest(manifest, folder)
    return manifest


def export_graph(network: Sam2Network, bucket: Bucket, precision: str = "fp32") -> onnx.ModelProto:
    """One stage as an ONNX graph, whose inputs and outputs are those of the signature. Raises ExportError."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        raise ExportError(f"PyTorch {torch.__version__} is too old to export; allowed: 2.6 and newer")
    half = _HALF[precision] if bucket.stage in _HEAVY else None
    expected = signature(bucket, network.config)
    inputs = tuple(_example(spec, network.device) for spec in expected.inputs.values())
    with torch.no_grad(), _quietly():
        program = torch.onnx.export(
            stage_module(network, bucket, half),
            inputs,
            input_names=list(expected.inputs),
            output_names=list(expected.outputs),
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.scaled_dot_product_attention.default: _attention},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _example(spec: TensorSpec, device: torch.device) -> torch.Tensor:
    return torch.ones(spec.shape, dtype=spec.dtype, device=device)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _attention(
    q: Any, k: Any, v: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, **_options: Any
) -> Any:
    """How attention is written into a graph: queries scaled before the product, softmax in float32."""
    scale = op.CastLike(op.Constant(value_float=q.shape[-1] ** -0.5), q)
    scores = op.MatMul(op.Mul(q, scale), op.Transpose(k, perm=[0, 1, 3, 2]))
    scores = op.Cast(scores, to=onnx.TensorProto.FLOAT)
    if mask is not None:
        scores = op.Add(scores, op.Cast(mask, to=onnx.TensorProto.FLOAT))
    return op.MatMul(op.CastLike(op.Softmax(scores, axis=-1), v), v)


class _SharedWeights:
    """One file that holds the large tensors of many graphs, each distinct one once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WEIGHTS
        self._offsets: dict[bytes, int] = {}
        self._path.write_bytes(b"")

    def move_from(self, model: onnx.ModelProto) -> None:
        """Takes the large tensors out of a graph and leaves references to the file."""
        with self._path.open("ab") as file:
            for tensor in model.graph.initializer:
                if len(tensor.raw_data) < _SMALL:
                    continue
                digest = hashlib.sha256(tensor.raw_data).digest()
                if digest not in self._offsets:
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    self._offsets[digest] = file.tell()
                    file.write(tensor.raw_data)
                size = len(tensor.raw_data)
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                where = {"location": WEIGHTS, "offset": self._offsets[digest], "length": size}
                tensor.external_data.extend(
                    onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in where.items()
                )
