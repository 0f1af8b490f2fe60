"""A camera over a simulated tabletop: image, depth, camera_info and the ground truth of every pixel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sam2_core.scenes.demo_table import PERIOD
from sam2_core.scenes.tabletop import TabletopScene, load_scene
from sam2_core.video import TimedImage
from sam2_ros.camera_node import CAMERA_QOS, CameraNode, run_camera
from sam2_ros.images import image_from_array

MAX_OBJECTS = 6
_SIZE = (480, 640)  # height, width [px]
_FILMED_RATE = 30.0  # [Hz] at which the scene moves at its natural speed


@dataclass(frozen=True)
class SceneFrame(TimedImage):
    """A frame with its ground truth."""

    labels: np.ndarray  # uint8 [H, W]; 0: background, k: object k
    depth: np.ndarray  # float32 [H, W], along the optical axis [m]


class CameraSimulator(CameraNode[SceneFrame]):
    """Publishes beside the topics of CameraNode `ground_truth/labels` (mono8) and `depth` (32FC1, metres).

    Plays the scene in a loop. Labels and depth are published only while someone listens.
    """

    def __init__(self) -> None:
        super().__init__("camera_simulator")
        self._rate: float = self.declare_fixed("rate", _FILMED_RATE, "frames per second [Hz]", 0.1, 1000.0)
        objects: int = self.declare_fixed("objects", 3, "objects on the table", 1, MAX_OBJECTS)
        family: str = self.declare_fixed("family", "demo", "kind of scene: demo, train or held_out")
        seed: int = self.declare_fixed("seed", 0, "which scene; there is one demo", 0, 2**31 - 1)
        length: int = self.declare_fixed("clip_frames", 0, "rendered frames; 0: the whole demo", 0, 100_000)
        self._labels = self.create_publisher(Image, "ground_truth/labels", CAMERA_QOS)
        self._depth = self.create_publisher(Image, "depth", CAMERA_QOS)
        logger = self.get_logger()
        logger.info("preparing the scene; the first time it is rendered, which takes a minute or two ...")
        self._scene = load_clip(objects, family, seed, length)
        logger.info(f"playing {len(self._scene.frames)} frames in a loop")

    def frames(self) -> Iterator[SceneFrame]:
        scene = self._scene
        assert scene.depth is not None  # a tabletop has it
        for index in itertools.count():
            t = index % len(scene.frames)
            stamp = round(index / self._rate * 1e9)
            yield SceneFrame(scene.frames[t], stamp, scene.labels[t], scene.depth[t])

    def publish_frame(self, frame: SceneFrame, header: Header) -> None:
        self.publish_image(frame, self._scene.intrinsics, header)
        if self._labels.get_subscription_count():
            self._labels.publish(image_from_array(frame.labels, "mono8", header))
        if self._depth.get_subscription_count():
            self._depth.publish(image_from_array(frame.depth, "32FC1", header))


def load_clip(objects: int = 3, family: str = "demo", seed: int = 0, frames: int = 0) -> TabletopScene:
    """What the camera plays, rendered once and kept in the user's cache; frames 0: the whole demo."""
    return load_scene(seed, frames or round(PERIOD * _FILMED_RATE), _SIZE, family, _FILMED_RATE, objects)


def main() -> None:
    run_camera(CameraSimulator)


if __name__ == "__main__":
    main()
