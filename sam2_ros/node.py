"""The node `sam2`: camera topics in, prompts by service, masks and visibility out."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

# PyTorch's threads wait for each other asleep, unless the user wants it otherwise. By default they spin: they
# keep cores from cameras and clients, and where not all of them get one at once they waste most of a frame's
# CPU time. Read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from sam2_core.backends import Backend, BackendOptions, load_backend
from sam2_core.heap import keep_freed_memory
from sam2_core.tracking import StreamingTracker, TrackedObject, TrackerOptions
from sam2_core.tracking.rehearsal import rehearse
from sam2_ros import parameters as settings
from sam2_ros.automatic import GenerationService
from sam2_ros.camera import Camera
from sam2_ros.diagnostics import camera_status, node_status
from sam2_ros.inference import InferenceThread, NotActiveError
from sam2_ros.services import CameraServices, SegmentationService
from sam2_ros.stop import Stop, heeding_signals

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class _Loaded(NamedTuple):
    """What exists from configure to cleanup."""

    inference: InferenceThread
    backend: Backend
    cameras: dict[str, Camera]
    identity: dict[str, str]  # of the model and what runs it, for the diagnostics


class Sam2Node(LifecycleNode):
    """Loads the network in configure, receives images while active, and frees everything in cleanup."""

    def __init__(self, interrupted: threading.Event | None = None, **node_options: Any) -> None:
        """Declares the parameters and the services. Raises ParameterException or ValueError.

        Args:
            interrupted: set when the program must end; the building of engines stops then.
            node_options: of the node.
        """
        super().__init__("sam2", **node_options)
        self._interrupted = interrupted or threading.Event()
        self.parameters = settings.declare(self)
        self.add_on_set_parameters_callback(self._change_parameters)
        self._loaded: _Loaded | None = None
        self._state = "unconfigured"
        self._loading = ""
        self._error = ""
        names = settings.camera_names(self.parameters)
        # One camera has its outputs directly under the node's name.
        self._prefixes = {name: f"~/{name}/" if len(names) > 1 else "~/" for name in names}
        self._camera_services = {
            name: CameraServices(self, self, name, prefix) for name, prefix in self._prefixes.items()
        }
        for name, prefix in self._prefixes.items():
            GenerationService(self, self, name, prefix)
        SegmentationService(self, self)
        for name, topic in zip(names, self.parameters.image_topics, strict=True):
            self.create_subscription(Point, f"{topic}_mouse_left", partial(self._click, name), 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady time: a simulated clock may stand still, and that is when someone looks.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.parameters.diagnostics_period, self._publish_diagnostics, clock=steady)

    # what the services need

    def camera(self, name: str) -> Camera:
        """A camera, while the node is active; NotActiveError otherwise."""
        return self._active().cameras[name]

    def objects(self, name: str) -> tuple[TrackedObject, ...]:
        """What a camera's tracker follows, and goes on with when the node is activated again."""
        return self._loaded.cameras[name].objects if self._loaded else ()

    def backend(self) -> Backend:
        """What runs the network, while the node is active; NotActiveError otherwise."""
        return self._active().backend

    def in_inference_thread(self, command: Callable[[], Any]) -> Future:
        """Runs a command where trackers may be touched; await the future."""
        return self._active().inference.submit(command, self.executor)

    def _active(self) -> _Loaded:
        if self._loaded is None or self._state != "active":
            raise NotActiveError(f"the node is {self._state}; activate it first")
        return self._loaded

    # life

    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the weights; fails, and says why, where that is not possible."""
        self._error = ""
        try:
            self._loaded = self._load()
        except Exception as error:  # rclpy would swallow it without a word
            self._error = f"the model cannot be loaded: {error}"
            self.get_logger().error(self._error)
            return _FAILURE
        finally:
            self._loading = ""
        self._state = "inactive"
        return _SUCCESS

    def on_activate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Starts receiving images."""
        assert self._loaded is not None
        for camera in self._loaded.cameras.values():
            camera.subscribe()
        self._state = "active"
        self.get_logger().info(f"active; waiting for images on {', '.join(self.parameters.image_topics)}")
        return _SUCCESS

    def on_deactivate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Stops receiving images; objects and memories stay."""
        assert self._loaded is not None
        for camera in self._loaded.cameras.values():
            camera.unsubscribe()
        self._state = "inactive"
        return _SUCCESS

    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the network, the trackers and the outputs."""
        self.release()
        self._state = "unconfigured"
        return _SUCCESS

    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state, and stops receiving."""
        self.release()
        self._state = "finalized"
        return _SUCCESS

    def release(self) -> None:
        """Ends the inference thread and frees what it used, if there is anything."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        loaded.inference.stop()
        for camera in loaded.cameras.values():
            camera.close()

    def _load(self) -> _Loaded:
        parameters = self.parameters
        device = parameters.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        source = parameters.checkpoint or "bundled weights"
        self._tell_loading(f"loading {parameters.model or 'the model'} from {source} on {device} ...")
        started = time.monotonic()
        options = BackendOptions(
            backend=parameters.backend,
            model=parameters.model,
            checkpoint=parameters.checkpoint,
            precision=parameters.precision,
            device=device,
            threads=parameters.torch_threads,
            exported=parameters.exported,
            provider=parameters.onnxruntime_provider,
            may_export=True,
            engine_objects=tuple(parameters.tensorrt_objects),
            workspace=parameters.tensorrt_workspace,
        )
        loaded = load_backend(options, self._tell_loading, rehearse, self._interrupted)
        weights = sum(parameter.numel() for parameter in loaded.network.parameters())
        self.get_logger().info(
            f"loaded {weights / 1e6:.1f} M weights in {time.monotonic() - started:.1f} s; "
            f"the network runs in {loaded.name}: {loaded.reason}"
        )

        inference = InferenceThread(parameters.torch_threads)
        tracking = TrackerOptions(
            max_objects=parameters.max_objects,
            held_frames=parameters.held_frames,
            lasting_corrections=parameters.lasting_corrections,
        )
        cameras = {
            name: Camera(
                self,
                name,
                topic,
                self._prefixes[name],
                StreamingTracker(loaded.backend, tracking),
                lambda: self.parameters,
                inference.notify,
            )
            for name, topic in zip(self._prefixes, parameters.image_topics, strict=True)
        }
        inference.serve(list(cameras.values()))
        identity = {
            "model": loaded.network.config.name,
            "checkpoint": source,
            "weights [M]": f"{weights / 1e6:.2f}",
            "backend": loaded.name,
            "backend: why": loaded.reason,
            **{f"backend: {stage}": executor for stage, executor in loaded.stages.items()},
            **loaded.proof,
            "device": device,
        }
        return _Loaded(inference, loaded.backend, cameras, identity)

    def _tell_loading(self, line: str) -> None:
        """Says how far the loading is, in the log and on /diagnostics, whose timer waits for it too."""
        self.get_logger().info(line)
        self._loading = line
        self._publish_diagnostics()

    # callbacks

    def _change_parameters(self, changes: Sequence[Parameter]) -> Any:
        result, self.parameters = settings.check_change(self.parameters, changes, self._loaded is not None)
        return result

    def _click(self, name: str, point: Point) -> None:
        if self._state != "active":
            return
        if self.parameters.allow_click_prompts:
            self._camera_services[name].click(point)
        else:
            self.get_logger().info(
                "a click is ignored: the parameter allow_click_prompts is false", throttle_duration_sec=5.0
            )

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        identity = self._loaded.identity if self._loaded else {"model": self.parameters.model}
        state = f"configuring: {self._loading}" if self._loading else self._state
        message.status.append(node_status(name, state, identity, self._error))
        if self._loaded and self._state == "active":
            for camera in self._loaded.cameras.values():
                camera.check_alive()
                message.status.append(camera_status(name, camera))
        self._diagnostics.publish(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM; returns the exit status."""
    keep_freed_memory()
    # Under launch, SIGINT arrives twice. Our own handler only sets a flag, so that the second one, in the
    # middle of the clean-up, does no harm.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stop = Stop()
    with heeding_signals(stop.set):
        try:
            node = Sam2Node(stop)
        except (ParameterException, ValueError) as error:
            print(f"sam2: {error}", file=sys.stderr)
            rclpy.shutdown()
            return 1
        status = _run(node, stop)
        node.release()
        node.destroy_node()
        rclpy.shutdown()
        return status


def _run(node: Sam2Node, stop: threading.Event) -> int:
    if node.parameters.autostart and node.trigger_configure() != _SUCCESS:
        return 1
    if stop.is_set():
        return 0
    if node.parameters.autostart and node.trigger_activate() != _SUCCESS:
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[Exception] = []

    def spin() -> None:
        try:
            executor.spin()
        except Exception as error:
            failures.append(error)
            node.get_logger().fatal(f"the executor ended: {error!r}")
        stop.set()

    spinner = threading.Thread(target=spin, name="executor")
    spinner.start()
    stop.wait()
    released = threading.Event()

    def release() -> None:
        node.release()
        executor.create_task(released.set)

    # By the executor itself, and before it ends: service calls that wait for the inference thread are
    # answered. Unanswered they would keep Humble's executor from ending.
    executor.create_task(release)
    while spinner.is_alive() and not released.wait(0.1):
        pass
    executor.shutdown()
    spinner.join()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
