"""The node's parameters: declared from one table, checked, and handed on as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import rclpy.node
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidTopicNameException
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from sam2_core.backends.choose import BACKENDS, PROVIDERS
from sam2_core.model import PRECISIONS

#: When a parameter may change: never after the start, only before the weights are loaded, at any time.
FIXED, UNCONFIGURED, ALWAYS = "fixed", "unconfigured", "always"


def _about(
    description: str,
    change: str,
    *,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {"description": description, "change": change, "limits": limits, "choices": choices}


@dataclass(frozen=True)
class Parameters:
    """Everything that a user sets. The table below is the only place where a parameter is described."""

    image_topics: list[str] = field(
        default_factory=lambda: ["/camera/image_raw"],
        metadata=_about("image topics, one per camera, each with a tracker of its own", FIXED),
    )
    camera_names: list[str] = field(
        default_factory=lambda: [""],
        metadata=_about("names of the cameras in output topics; [''] takes them from image_topics", FIXED),
    )
    image_transport: str = field(
        default="raw",
        metadata=_about("type of the images, Image or CompressedImage", FIXED, choices=("raw", "compressed")),
    )
    input_reliability: str = field(
        default="best_effort",
        metadata=_about(
            "QoS reliability of the image subscriptions", FIXED, choices=("best_effort", "reliable")
        ),
    )
    input_depth: int = field(
        default=1,
        metadata=_about(
            "QoS depth of the image subscriptions [frames]; the newest is tracked",
            FIXED,
            limits=(1, 100),
        ),
    )
    model: str = field(
        default="",
        metadata=_about("name of the model; empty: the checkpoint's, or sam2_pico", UNCONFIGURED),
    )
    checkpoint: str = field(
        default="",
        metadata=_about("weights, .pt or .safetensors; empty: those bundled with the model", UNCONFIGURED),
    )
    device: str = field(
        default="auto", metadata=_about("where the network runs: auto, cpu, cuda or cuda:N", UNCONFIGURED)
    )
    precision: str = field(
        default="auto",
        metadata=_about(
            "numbers of the heavy stages; auto: bfloat16 for released models where it is multiplied",
            UNCONFIGURED,
            choices=PRECISIONS,
        ),
    )
    backend: str = field(
        default="auto",
        metadata=_about(
            "what runs the network; auto: the fastest that works here", UNCONFIGURED, choices=BACKENDS
        ),
    )
    exported: str = field(
        default="",
        metadata=_about("folder of sam2-export; empty: exported when needed, into the cache", UNCONFIGURED),
    )
    onnxruntime_provider: str = field(
        default="auto",
        metadata=_about(
            "execution provider of ONNX Runtime; auto: the device's", UNCONFIGURED, choices=PROVIDERS
        ),
    )
    tensorrt_objects: list[int] = field(
        default_factory=lambda: [1, 2, 4, 8],
        metadata=_about("numbers of objects for which TensorRT engines are built", UNCONFIGURED),
    )
    tensorrt_workspace: int = field(
        default=0,
        metadata=_about(
            "memory that a layer of a TensorRT engine may use [MiB]; 0: whatever the device has",
            UNCONFIGURED,
            limits=(0, 1_000_000),
        ),
    )
    torch_threads: int = field(
        default=0,
        metadata=_about("CPU threads of the network; 0: one per core", UNCONFIGURED, limits=(0, 256)),
    )
    max_objects: int = field(
        default=16, metadata=_about("objects that one camera tracks at most", UNCONFIGURED, limits=(1, 256))
    )
    held_frames: int = field(
        default=8,
        metadata=_about("newest frames of a camera that may still be prompted", UNCONFIGURED, limits=(1, 64)),
    )
    lasting_corrections: bool = field(
        default=False,
        metadata=_about(
            "a corrected frame is read for good, as in the training of Meta's models; else for a few frames",
            UNCONFIGURED,
        ),
    )
    allow_click_prompts: bool = field(
        default=False,
        metadata=_about("a geometry_msgs/Point on <image topic>_mouse_left adds an object there", ALWAYS),
    )
    jpeg_quality: int = field(
        default=80, metadata=_about("JPEG quality of ~/overlay/compressed", ALWAYS, limits=(1, 100))
    )
    camera_timeout: float = field(
        default=2.0,
        metadata=_about(
            "time without an image after which a camera counts as stopped [s]", ALWAYS, limits=(0.1, 3600.0)
        ),
    )
    diagnostics_period: float = field(
        default=1.0,
        metadata=_about("time between two messages on /diagnostics [s]", FIXED, limits=(0.1, 60.0)),
    )
    autostart: bool = field(
        default=True, metadata=_about("configure and activate at start, without a lifecycle manager", FIXED)
    )


_TABLE = {item.name: item for item in fields(Parameters)}


def declare(node: rclpy.node.Node) -> Parameters:
    """Declares every parameter on a node and returns what the user set.

    Raises rclpy.exceptions.ParameterException, or ValueError, saying which parameter is wrong and why.
    """
    defaults = Parameters()
    for name, item in _TABLE.items():
        node.declare_parameter(name, getattr(defaults, name), _descriptor(item))
    parameters = read(node)
    reason = problem(parameters)
    if reason:
        raise ValueError(reason)
    return parameters


def read(node: rclpy.node.Node) -> Parameters:
    """The present values."""
    return Parameters(**{name: node.get_parameter(name).value for name in _TABLE})


def check_change(
    current: Parameters, changes: Iterable[Parameter], configured: bool
) -> tuple[SetParametersResult, Parameters]:
    """Whether some parameters may take new values, all of them or none; with what holds afterwards."""
    values = {item: getattr(current, item) for item in _TABLE}
    for change in changes:
        if change.name not in _TABLE:
            continue  # use_sim_time and what else rclpy declares by itself
        if configured and _TABLE[change.name].metadata["change"] == UNCONFIGURED:
            reason = (
                f"{change.name} cannot change while the model is loaded; call the cleanup transition first"
            )
            return SetParametersResult(successful=False, reason=reason), current
        values[change.name] = change.value
    proposed = Parameters(**values)
    reason = problem(proposed)
    return SetParametersResult(successful=not reason, reason=reason), current if reason else proposed


def problem(parameters: Parameters) -> str:
    """What is wrong with the values beyond their types and ranges, which rclpy checks; empty if nothing."""
    for name, item in _TABLE.items():
        value, choices = getattr(parameters, name), item.metadata["choices"]
        if choices and value not in choices:
            return f"{name} is '{value}'; allowed are {', '.join(choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is {value}; a finite number is needed"
    if not parameters.tensorrt_objects or min(parameters.tensorrt_objects) < 1:
        return f"tensorrt_objects is {list(parameters.tensorrt_objects)}; numbers from 1 on are needed"
    topics = parameters.image_topics
    if not topics:
        return "image_topics is empty; at least one topic is needed"
    for topic in topics:
        try:
            validate_topic_name(topic)
        except InvalidTopicNameException as error:
            return f"image_topics holds '{topic}', which is not a topic name: {error}"
    if len(set(topics)) < len(topics):
        return f"image_topics holds a topic twice: {', '.join(topics)}"
    return _problem_of_names(parameters)


def camera_names(parameters: Parameters) -> list[str]:
    """A name per camera, unique: those given, or the last namespace of the topic that tells cameras apart.

    /front/image_raw gives `front`; where two are alike, /left/camera/image and /right/camera/image, the
    whole topic is written with underscores.
    """
    if parameters.camera_names != [""]:
        return list(parameters.camera_names)
    topics = [topic.strip("~/") for topic in parameters.image_topics]
    short = [topic.split("/")[-2] if "/" in topic else topic for topic in topics]
    return short if len(set(short)) == len(short) else [topic.replace("/", "_") for topic in topics]


def _problem_of_names(parameters: Parameters) -> str:
    names = camera_names(parameters)
    if len(names) != len(parameters.image_topics):
        return f"camera_names has {len(names)} names for {len(parameters.image_topics)} image_topics"
    if len(set(names)) < len(names):
        return f"camera_names holds a name twice: {', '.join(names)}"
    for name in names:
        if not (name.isascii() and name.isidentifier()):
            return f"camera_names holds '{name}'; letters, digits and _ of ASCII are allowed, no digit first"
    return ""


def _descriptor(item: Any) -> ParameterDescriptor:
    metadata = item.metadata
    descriptor = ParameterDescriptor(
        description=metadata["description"], read_only=metadata["change"] == FIXED
    )
    constraints = [f"one of: {', '.join(metadata['choices'])}"] if metadata["choices"] else []
    if metadata["change"] == UNCONFIGURED:
        constraints.append("changes only while the node is unconfigured")
    descriptor.additional_constraints = "; ".join(constraints)
    if metadata["limits"]:
        low, high = metadata["limits"]
        if item.type == "int":
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return descriptor
