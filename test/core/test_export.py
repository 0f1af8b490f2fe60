"""Stages as ONNX graphs: what TensorRT takes, in which precision, with a manifest that notices damage."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from random_weights import random_network
from torch import Tensor, nn
from torch.nn import functional as F

from sam2_core.backends.export import OPSET, export_graph, export_stages, stage_buckets
from sam2_core.backends.graph_check import GraphError, check_graph
from sam2_core.backends.manifest import EXPORT_PRECISIONS, WEIGHTS, graph_digest, read_manifest
from sam2_core.backends.programs import Bucket, signature
from sam2_core.model import Sam2Network

SIZE = 64
ONE_OF_EACH = [
    Bucket("encode_image"),
    Bucket("attend_memory", 2, 3, 4),
    Bucket("decode_tracked", 2),
    Bucket("decode_prompted", 2),
    Bucket("encode_memory", 2),
]


@pytest.fixture(scope="module")
def networks() -> dict[str, Sam2Network]:
    return {name: random_network(name, SIZE) for name in ("sam2_pico", "sam2.1_hiera_tiny")}


@pytest.mark.parametrize("bucket", ONE_OF_EACH, ids=lambda bucket: bucket.stage)
@pytest.mark.parametrize("model", ["sam2_pico", "sam2.1_hiera_tiny"])
@pytest.mark.parametrize("precision", EXPORT_PRECISIONS)
def test_every_graph_is_one_that_tensorrt_takes(
    networks: dict[str, Sam2Network], model: str, bucket: Bucket, precision: str
) -> None:
    if model == "sam2.1_hiera_tiny" and precision == "bf16":
        precision = "fp32"
    network = networks[model]
    graph = export_graph(network, bucket, precision)
    onnx.checker.check_model(graph, full_check=True)
    check_graph(graph)
