"""Whether TensorRT's ONNX parser takes a graph, by what is published about the parser of TensorRT 10."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, helper, shape_inference

MIN_OPSET, MAX_OPSET = 9, 20
"""That the parser reads."""

_BOOL = frozenset({TensorProto.BOOL})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64}
_ANY = _NUMBERS | _BOOL


class GraphError(ValueError):
    """A graph that TensorRT's parser would refuse; the message names each node and the reason."""


@dataclass(frozen=True)
class _Surroundings:
    """What is known about the tensors of a graph."""

    constants: frozenset[str]
    """Those that are known when the engine is built."""
    types: Mapping[str, int]
    ranks: Mapping[str, int]


Restriction = Callable[[NodeProto, _Surroundings], str]
"""What is wrong with a node; empty: nothing."""


def _constant(position: int, name: str) -> Restriction:
    """An input must be a constant, where it is given."""

    def check(node: NodeProto, graph: _Surroundings) -> str:
        given = _given(node, position)
        return f"{name} is not constant" if given and given not in graph.constants else ""

    return check


def _absent(position: int, name: str) -> Restriction:
    """An input must not be given."""
    return lambda node, _graph: f"{name} is given" if _given(node, position) else ""


def _attribute(name: str, default: Any, *allowed: Any) -> Restriction:
    """An attribute must have one of some values."""

    def check(node: NodeProto, _graph: _Surroundings) -> str:
        value = _attributes(node).get(name, default)
        return "" if value in allowed else f"{name} is {value!r}; allowed: {', '.join(map(repr, allowed))}"

    return check


def _one_output(node: NodeProto, _graph: _Surroundings) -> str:
    return "more than one output" if sum(map(bool, node.output)) > 1 else ""


def _images_or_volumes(node: NodeProto, graph: _Surroundings) -> str:
    rank = graph.ranks[node.input[0]]
    return "" if rank in (4, 5) else f"{rank} dimensions; allowed: 4 or 5"


def _undilated(node: NodeProto, _graph: _Surroundings) -> str:
    dilations = _attributes(node).get("dilations", [])
    return "" if all(step == 1 for step in dilations) else f"dilations are {dilations}; allowed: 1"


@dataclass(frozen=True)
class Operator:
    """What the parser takes of an operator."""

    types: frozenset[int]
    """Of what it computes with."""
    restrictions: tuple[Restriction, ...] = ()
    outputs: frozenset[int] | None = None
    """Types of its outputs, where they are others."""


OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Pow", "Abs", "Neg", "Max", "Min", "Relu", "Mod"), Operator(_NUMBERS)
    ),
    **dict.fromkeys(
        ("Cos", "Erf", "Exp", "Gelu", "Log", "Reciprocal", "Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh"),
        Operator(_FLOATS),
    ),
    **dict.fromkeys(("MatMul", "Gemm", "Einsum", "Clip", "Floor", "Ceil"), Operator(_FLOATS)),
    **dict.fromkeys(("And", "Or", "Not"), Operator(_BOOL)),
    **dict.fromkeys(
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), Operator(_NUMBERS, outputs=_BOOL)
    ),
    **dict.fromkeys(
        ("Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity"),
        Operator(_ANY),
    ),
    **dict.fromkeys(("Reshape", "Tile", "Transpose", "Where", "Split"), Operator(_ANY)),
    "Squeeze": Operator(_ANY, (_constant(1, "axes"),)),
    "Unsqueeze": Operator(_ANY, (_constant(1, "axes"),)),
    "Slice": Operator(_ANY, (_constant(3, "axes"),)),
    "Pad": Operator(_NUMBERS, (_constant(3, "axes"),)),
    "CumSum": Operator(_FLOATS, (_constant(1, "axis"),)),
    "ReduceMax": Operator(_NUMBERS, (_constant(1, "axes"),)),
    "ReduceMean": Operator(_NUMBERS, (_constant(1, "axes"),)),
    "ReduceSum": Operator(_NUMBERS, (_constant(1, "axes"),)),
    "LayerNormalization": Operator(_FLOATS, (_one_output,)),
    "Conv": Operator(_FLOATS),
    "ConvTranspose": Operator(_FLOATS),
    "MaxPool": Operator(_FLOATS, (_images_or_volumes, _one_output, _undilated)),
    "Resize": Operator(
        _FLOATS,
        (
            _attribute("mode", "nearest", "nearest", "linear"),
            _attribute("antialias", 0, 0),
            _attribute("keep_aspect_ratio_policy", "stretch", "stretch"),
            _attribute(
                "coordinate_transformation_mode",
                "half_pixel",
                *("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"),
            ),
            _attribute(
                "nearest_mode",
                "round_prefer_floor",
                *("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
            ),
        ),
    ),
    "ScatterND": Operator(_NUMBERS, (_attribute("reduction", "none", "none"),)),
    "TopK": Operator(_NUMBERS, (_attribute("sorted", 1, 1), _constant(1, "K"))),
}
"""Operators that graphs may have, by docs/operators.md of github.com/onnx/onnx-tensorrt for TensorRT 10: ours
and their neighbours. One that is missing is refused; look there before adding it."""


def check_graph(model: onnx.ModelProto) -> None:
    """Raises GraphError unless every node of a graph is one that the parser takes."""
    problems = list(_problems(model))
    if problems:
        raise GraphError("TensorRT would not take the graph: " + "; ".join(problems))


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            if any(node.domain == opset.domain for node in model.graph.node):
                yield f"operators of the domain {opset.domain!r}"
        elif not MIN_OPSET <= opset.version <= MAX_OPSET:
            yield f"opset {opset.version}; allowed: {MIN_OPSET} to {MAX_OPSET}"
    graph = _surroundings(model)
    for node in model.graph.node:
        name = f"{node.op_type} {node.name or node.output[0]}"
        operator = OPERATORS.get(node.op_type)
        if operator is None:
            yield f"{name}: the operator is not in the table"
            continue
        yield from (
            f"{name}: {problem}" for check in operator.restrictions if (problem := check(node, graph))
        )
        # What is constant says how the operator works; the types are those of what it works on.
        computed = [tensor for tensor in node.input if tensor and tensor not in graph.constants]
        allowed = [(tensor, operator.types) for tensor in computed]
        allowed += [(tensor, operator.outputs or operator.types) for tensor in node.output]
        for tensor, types in allowed:
            if graph.types.get(tensor) not in types:
                yield f"{name}: {tensor} is of type {_type_name(graph.types.get(tensor))}"
    for tensor in model.graph.initializer:
        if tensor.data_type not in _ANY:
            yield f"constant {tensor.name} is of type {_type_name(tensor.data_type)}"


def _surroundings(model: onnx.ModelProto) -> _Surroundings:
    graph = shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
        ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return _Surroundings(frozenset(tensor.name for tensor in graph.initializer), types, ranks)


def _given(node: NodeProto, position: int) -> str:
    return node.input[position] if len(node.input) > position else ""


def _attributes(node: NodeProto) -> dict[str, Any]:
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _type_name(element: int | None) -> str:
    return "unknown" if element is None else TensorProto.DataType.Name(element)
