"""Stages as ONNX graphs: what TensorRT takes, in which precision, with a manifest that notices damage."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from random_weights import random_network
from torch import Tensor, nn
from torch.nn import functional as F

from sam2_core.backends.export import OPSET, export_stages
from sam2_core.backends.graph_check import GraphError, check_graph
from sam2_core.backends.manifest import WEIGHTS, Manifest, check_files, graph_digest, read_manifest
from sam2_core.backends.programs import Bucket, TensorSpec, signature, stage_buckets
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tools.export import main

SIZE = 64
BUCKETS = [
    Bucket("encode_image"),
    Bucket("attend_memory", 2, 3, 4),
    Bucket("decode_tracked", 2),
    Bucket("decode_prompted", 2),
    Bucket("encode_memory", 2),
]
EXPORTS = [
    pytest.param(("sam2_pico", "fp32"), id="sam2_pico fp32"),
    pytest.param(("sam2_pico", "bf16"), id="sam2_pico bf16", marks=pytest.mark.slow),
    pytest.param(("sam2.1_hiera_tiny", "fp16-mixed"), id="sam2.1_hiera_tiny fp16-mixed"),
]


class Exported:
    """A folder of exported stages."""

    def __init__(self, model: str, precision: str, folder: Path) -> None:
        self.network: Sam2Network = random_network(model, SIZE)
        self.folder = folder
        self.precision = precision
        self.manifest: Manifest = export_stages(self.network, "a fingerprint", folder, precision, BUCKETS)

    def graph(self, bucket: Bucket) -> onnx.ModelProto:
        return onnx.load(self.folder / f"{bucket.name}.onnx")


@pytest.fixture(scope="module", params=EXPORTS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(*request.param, tmp_path_factory.mktemp("exported"))


def test_every_graph_is_one_that_tensorrt_takes(exported: Exported) -> None:
    for bucket in BUCKETS:
        graph = exported.graph(bucket)
        # ONNX lets bfloat16 into convolutions from opset 22 on; the parser takes it in opset 20.
        onnx.checker.check_model(graph, full_check=exported.precision != "bf16")
        check_graph(graph)


ELEMENTS = {
    torch.float32: TensorProto.FLOAT,
    torch.int64: TensorProto.INT64,
    torch.bool: TensorProto.BOOL,
}


def test_inputs_and_outputs_are_those_of_the_signature(exported: Exported) -> None:
    def specs(values: list[onnx.ValueInfoProto]) -> dict[str, TensorSpec]:
        types = {value.name: value.type.tensor_type for value in values}
        dtypes = {element: dtype for dtype, element in ELEMENTS.items()}
        return {
            name: TensorSpec(tuple(dim.dim_value for dim in t.shape.dim), dtypes[t.elem_type])
            for name, t in types.items()
        }

    for bucket in BUCKETS:
        graph, expected = exported.graph(bucket).graph, signature(bucket, exported.network.config)
        assert specs(list(graph.input)) == expected.inputs
        assert specs(list(graph.output)) == expected.outputs


def test_products_are_in_the_precision_and_the_rest_in_float32(exported: Exported) -> None:
    half = {"fp32": TensorProto.FLOAT, "bf16": TensorProto.BFLOAT16, "fp16-mixed": TensorProto.FLOAT16}
    for bucket in BUCKETS:
        graph = onnx.shape_inference.infer_shapes(exported.graph(bucket)).graph
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        found: dict[str, set[int]] = {}
        for node in graph.node:
            found.setdefault(node.op_type, set()).add(types[node.output[0]])
        heavy = not bucket.stage.startswith("decode")
        wanted = half[exported.precision] if heavy else TensorProto.FLOAT
        assert wanted in found["MatMul"]
        for name in ("Softmax", "LayerNormalization"):
            assert found.get(name, {TensorProto.FLOAT}) == {TensorProto.FLOAT}, (bucket, name)


def test_graphs_share_their_weights(exported: Exported) -> None:
    network = sum(value.nbytes for value in exported.network.state_dict().values())
    weights = (exported.folder / WEIGHTS).stat().st_size
    graphs = sum(path.stat().st_size for path in exported.folder.glob("*.onnx"))
    # Tables and padding come to the weights; two decoders would bring another decoder.
    assert weights < 1.2 * network
    assert graphs < 0.25 * network + 1.5e6


def test_the_manifest_says_what_there_is(exported: Exported) -> None:
    manifest = exported.manifest
    assert [graph.bucket for graph in manifest.graphs] == BUCKETS
    assert (manifest.model, manifest.image_size) == (exported.network.config.name, SIZE)
    assert (manifest.fingerprint, manifest.precision) == ("a fingerprint", exported.precision)
    assert manifest.opset == OPSET <= 20
    assert manifest.tools["torch"] == torch.__version__
    assert all(graph_digest(exported.folder / graph.file) == graph.sha256 for graph in manifest.graphs)


def test_altered_weights_change_every_digest(exported: Exported) -> None:
    path = exported.folder / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        graphs = exported.manifest.graphs
        assert all(graph_digest(exported.folder / graph.file) != graph.sha256 for graph in graphs)
    finally:
        path.write_bytes(content)


def test_buckets_cover_objects_and_histories() -> None:
    assert stage_buckets(CONFIGS["sam2.1_hiera_tiny"], [2, 1, 2], "full") == [
        Bucket("encode_image"),
        Bucket("attend_memory", 1, 7, 16),
        Bucket("decode_tracked", 1),
        Bucket("decode_prompted", 1),
        Bucket("encode_memory", 1),
        Bucket("attend_memory", 2, 7, 16),
        Bucket("decode_tracked", 2),
        Bucket("decode_prompted", 2),
        Bucket("encode_memory", 2),
    ]
    lengths = {
        model: [(b.maps, b.pointers) for b in stage_buckets(CONFIGS[model], [1], "buckets") if b.maps]
        for model in ("sam2.1_hiera_tiny", "sam2_pico")
    }
    assert lengths == {
        "sam2.1_hiera_tiny": [(1, 16), (3, 16), (7, 16), (10, 19)],
        "sam2_pico": [(1, 16), (3, 16), (4, 16), (7, 19)],
    }


# That the check bites: what exporters do make of modules, and nodes that our own code never had.


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def complex_rotation(x: Tensor) -> Tensor:
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones(x.shape[-1] // 2), torch.arange(x.shape[-1] // 2.0)
    )
    return torch.view_as_real(turned).flatten(-2)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        pytest.param(lambda x: F.interpolate(x, (8, 8), mode="bicubic"), "mode is 'cubic'", id="cubic"),
        pytest.param(
            lambda x: F.interpolate(x, (2, 2), mode="bilinear", antialias=True), "antialias is 1", id="smooth"
        ),
        pytest.param(lambda x: torch.linalg.det(x[..., :3, :3]), "Det", id="an unknown operator"),
        pytest.param(lambda x: x.double() + 1, "DOUBLE", id="doubles"),
        pytest.param(lambda x: F.max_pool2d(x, 2, dilation=2), "dilations", id="dilated pooling"),
        pytest.param(
            lambda x: x[0, 0].index_add(0, torch.tensor([0, 0]), x[0, 0, :2]), "reduction", id="sums"
        ),
    ],
)
def test_the_check_refuses_what_the_exporter_can_make(
    function: Callable[[Tensor], Tensor], problem: str
) -> None:
    program = torch.onnx.export(
        Lambda(function), (torch.rand(1, 2, 4, 4),), opset_version=OPSET, dynamo=True, verbose=False
    )
    assert program is not None
    with pytest.raises(GraphError, match=problem):
        check_graph(program.model_proto)


def graph_of(node: NodeProto, output: int, opset: int = OPSET, **inputs: int) -> onnx.ModelProto:
    """A graph of one node; inputs by name with their element types."""
    values = [helper.make_tensor_value_info(name, element, [1, 2, 4, 4]) for name, element in inputs.items()]
    result = helper.make_tensor_value_info("y", output, None)
    axes = numpy_helper.from_array(torch.tensor([2]).numpy(), "axes")
    graph = helper.make_graph([node], "one", values, [result], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        (
            graph_of(helper.make_node("Neg", ["x"], ["y"]), TensorProto.COMPLEX64, x=TensorProto.COMPLEX64),
            "COMPLEX64",
        ),
        (
            graph_of(
                helper.make_node("CumSum", ["x", "a"], ["y"]),
                TensorProto.FLOAT,
                x=TensorProto.FLOAT,
                a=TensorProto.INT64,
            ),
            "axis is not constant",
        ),
        (
            graph_of(helper.make_node("Abs", ["x"], ["y"]), TensorProto.FLOAT, opset=21, x=TensorProto.FLOAT),
            "opset 21; allowed: 9 to 20",
        ),
        (
            graph_of(helper.make_node("Gelu", ["x"], ["y"]), TensorProto.INT64, x=TensorProto.INT64),
            "x is of type INT64",
        ),
    ],
)
def test_the_check_refuses(graph: onnx.ModelProto, problem: str) -> None:
    with pytest.raises(GraphError, match=problem):
        check_graph(graph)


def test_the_check_lets_pass() -> None:
    check_graph(
        graph_of(helper.make_node("CumSum", ["x", "axes"], ["y"]), TensorProto.FLOAT, x=TensorProto.FLOAT)
    )


def test_a_graph_that_tensorrt_would_refuse_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network("sam2_pico", SIZE)
    network.memory_attention.norm.forward = lambda x: x.double().float()  # type: ignore[method-assign]
    with pytest.raises(GraphError, match="DOUBLE"):
        export_stages(network, "", tmp_path, "fp32", [Bucket("attend_memory", 1, 1, 1)])
    assert not list(tmp_path.glob("*.onnx"))


def test_an_export_that_fails_leaves_the_former_one_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = export_stages(random_network("sam2_pico", SIZE), "a fingerprint", tmp_path, "fp32", BUCKETS[-1:])
    files = sorted(tmp_path.iterdir())
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))  # as if the disk were full
    try:
        assert main(["--out", str(tmp_path), "--image-size", str(SIZE), "--objects", "1"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "cannot write" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == files
    assert read_manifest(tmp_path) == former
    check_files(former, tmp_path)
