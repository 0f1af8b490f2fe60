"""What the simulated users of `sam2-eval` tell a tracker whose answers are chosen here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dataset_folders import COUNT, HEIGHT, SIDE, WIDTH, labels, write_frames
from numpy.typing import NDArray
from PIL import Image

from sam2_core.evaluation import images, interactive
from sam2_core.evaluation.dataset import AnnotatedVideo, VideoFolders, read_video
from sam2_core.evaluation.images import segment_objects
from sam2_core.evaluation.interactive import Effort, Interaction, track_offline, track_online
from sam2_core.evaluation.mask_folders import ObjectFolders
from sam2_core.model import CONFIGS
from sam2_core.simulated_user import correction_click
from sam2_core.tracking import FrameResult, ObjectResult, PointPrompt, SegmentationResult

BoolMask = NDArray[np.bool_]
EMPTY = np.zeros((HEIGHT, WIDTH), bool)
EFFORT = Effort(frames=3, clicks=3)


def square(at: int) -> BoolMask:
    """The true mask on a frame."""
    return np.asarray(labels(at) == 1)


def without(mask: BoolMask, columns: int) -> BoolMask:
    """A square that misses its right columns: IoU 1 - columns / SIDE."""
    left = int(np.flatnonzero(mask.any(axis=0))[0])
    found = mask.copy()
    found[:, left + SIDE - columns :] = False
    return found


def after_clicks(truth: BoolMask) -> list[BoolMask]:
    """The answers to successive clicks on a frame: each wrong elsewhere than the one before."""
    y, x = (int(values.min()) for values in np.nonzero(truth))
    too_much, too_little = truth.copy(), truth.copy()
    too_much[y : y + SIDE, x - 5 : x] = True
    too_little[y : y + 3] = False
    return [too_much, too_little, truth]


def clicks_on(shown: BoolMask, truth: BoolMask) -> list[tuple[float, float, int]]:
    """What the user clicks on, if each click is aimed at the answer to the one before."""
    return [correction_click(mask, truth) for mask in (shown, *after_clicks(truth)[:-1])]


def test_the_scripted_errors_ask_for_both_kinds_of_clicks_in_three_places() -> None:
    clicks = clicks_on(EMPTY, square(0))
    assert [label for _, _, label in clicks] == [1, 0, 1]
    assert len(set(clicks)) == 3


@dataclass(frozen=True)
class Told:
    """One prompt that a tracker got."""

    object_id: int
    frame: int
    click: tuple[float, float, int]
    clear_previous: bool


def result(object_id: int, mask: BoolMask) -> ObjectResult:
    logits = np.where(mask, np.float32(8), np.float32(-8))
    return ObjectResult(object_id, "1", logits, (HEIGHT, WIDTH), 1.0, 1.0)


class Script:
    """What a tracker was told, and its answers: those to clicks on a frame are `after_clicks`."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def tell(self, object_id: int, at: int, prompt: PointPrompt, clear_previous: bool) -> ObjectResult:
        assert prompt.box is None
        ((x, y),), (label,) = np.asarray(prompt.points).tolist(), np.asarray(prompt.labels).tolist()
        self.told.append(Told(object_id, at, (x, y, label), clear_previous))
        clicks = sum((one.object_id, one.frame) == (object_id, at) for one in self.told)
        return result(object_id, after_clicks(square(at))[clicks - 1])


@pytest.fixture
def video(tmp_path: Path) -> AnnotatedVideo:
    """One object on nine frames."""
    folders = VideoFolders("a", tmp_path / "images", tmp_path / "masks")
    write_frames(folders.images)
    folders.masks.mkdir()
    for at in range(COUNT):
        Image.fromarray(square(at).astype(np.uint8)).save(folders.masks / f"{at:05}.png")
    read, problems = read_video(folders)
    assert read is not None, problems
    return read


def interact(track: Any, video: AnnotatedVideo, tmp_path: Path) -> Interaction:
    masks = ObjectFolders(tmp_path / "found")
    found: Interaction = track(None, video, EFFORT, False, masks, lambda: None)["1"]
    return found


def test_online_the_user_pauses_below_three_quarters_and_adds_click_to_click(
    video: AnnotatedVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {2: 2, 3: SIDE // 4, 5: SIDE // 3, 6: 5, 7: 6}  # on frame 3 the IoU is 0.75
    script = Script()

    class Tracker:
        def __init__(self, *_: object) -> None:
            self.at = -1
            self.count = 0

        def track(self, image: NDArray[np.uint8], stamp: int) -> FrameResult:
            self.at += 1
            objects = [result(one, without(square(self.at), missing.get(self.at, 0))) for one in self.ids]
            return FrameResult(stamp, (HEIGHT, WIDTH), tuple(objects))

        @property
        def ids(self) -> range:
            return range(1, 1 + self.count)

        def add_prompt(
            self, prompt: PointPrompt, object_id: int | None, label: str, *, clear_previous: bool = True
        ) -> ObjectResult:
            assert label == "1"
            if object_id is None:
                self.count += 1
            return script.tell(object_id or self.count, self.at, prompt, clear_previous)

    monkeypatch.setattr(interactive, "StreamingTracker", Tracker)
    found = interact(track_online, video, tmp_path)
    # One tracked object for each budget of frames: 1, 2 and 3.
    paused = [(budget, 0) for budget in (1, 2, 3)] + [(2, 5), (3, 5), (3, 6)]
    assert script.told == [
        Told(budget, at, click, False)
        for budget, at in paused
        for click in clicks_on(without(square(at), missing[at]) if at else EMPTY, square(at))
    ]
    assert [(one.frame, one.x, one.y, one.label) for one in found.clicks] == [
        (one.frame, *one.click) for one in script.told if one.object_id == 3
    ]
    tracked = {at: 1 - count / SIDE for at, count in missing.items()}
    for budget, right in ((1, ()), (2, (5,)), (3, (5, 6))):
        expected = [1.0 if at in right else tracked.get(at, 1.0) for at in range(COUNT)]
        assert found.rounds[budget - 1].j == pytest.approx(expected)


def test_offline_each_pass_adds_clicks_to_the_worst_frame_without_any(
    video: AnnotatedVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: Iterator[dict[int, int]] = iter([{2: 3, 4: 5, 6: 4}, {2: 4, 4: 6, 6: 3}, {}])
    script = Script()

    class Segmenter:
        def __init__(self, *_: object) -> None:
            pass

        def add_prompt(
            self, frame: int, prompt: PointPrompt, object_id: int, label: str, *, clear_previous: bool = True
        ) -> ObjectResult:
            assert label == "1"
            return script.tell(object_id, frame, prompt, clear_previous)

        def propagate(
            self, start: int, last: int, *, objects: Sequence[int]
        ) -> Iterator[tuple[int, FrameResult]]:
            missing = next(passes)
            for at in range(start, last + 1):
                answers = tuple(result(one, without(square(at), missing.get(at, 0))) for one in objects)
                yield at, FrameResult(at, (HEIGHT, WIDTH), answers)

    monkeypatch.setattr(interactive, "VideoSegmenter", Segmenter)
    found = interact(track_offline, video, tmp_path)
    shown = [(0, EMPTY), (4, without(square(4), 5)), (2, without(square(2), 4))]
    assert script.told == [
        Told(1, at, click, False) for at, mask in shown for click in clicks_on(mask, square(at))
    ]
    assert [(one.frame, one.x, one.y, one.label) for one in found.clicks] == [
        (one.frame, *one.click) for one in script.told
    ]


@dataclass(frozen=True)
class Asked:
    """A batch of prompts that an image segmenter got: the clicks, the box and the logits of each."""

    clicks: list[list[tuple[float, float, int]]]
    boxes: list[list[float] | None]
    logits: list[int | None]
    """The batch whose answers' they are."""
    multimask: bool


@pytest.mark.parametrize("candidates", [True, False])
def test_images_are_asked_with_a_box_and_with_click_after_click(
    candidates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = {"one": square(0), "other": np.roll(square(0), (20, 30), (0, 1))}
    by_click = {name: [*after_clicks(mask), without(mask, 2), mask] for name, mask in truth.items()}
    asked: list[Asked] = []
    given: list[Any] = []

    class Segmenter:
        def __init__(self, backend: Any) -> None:
            self.backend = backend

        def set_image(self, image: NDArray[np.uint8]) -> None:
            assert image.shape == (HEIGHT, WIDTH, 3)

        def predict_batch(
            self, prompts: Sequence[PointPrompt], multimask: bool = False, logits: Any = None
        ) -> list[SegmentationResult]:
            clicks = [
                [(x, y, label) for (x, y), label in zip(one.points, one.labels, strict=True)]
                for one in prompts
            ]
            boxes = [None if one.box is None else list(map(float, one.box)) for one in prompts]
            sources = [
                None if one is None else next(i for i, old in enumerate(given) if (old[k] == one).all())
                for k, one in enumerate(logits or [None] * len(prompts))
            ]
            asked.append(Asked(clicks, boxes, sources, multimask))
            # A box is answered wrongly, so that it is no click's answer.
            masks = [
                by_click[name][len(some) - 1] if some else without(truth[name], 6)
                for name, some in zip(truth, clicks, strict=True)
            ]
            best = [np.where(mask, 8, -len(asked)).astype(np.float32) for mask in masks]
            given.append(best)
            others = 2 if multimask else 0
            return [
                SegmentationResult(
                    np.stack([one, *[np.full_like(one, -9)] * others]),
                    np.ones(1 + others, np.float32),
                    1.0,
                    (HEIGHT, WIDTH),
                )
                for one in best
            ]

    monkeypatch.setattr(images, "ImageSegmenter", Segmenter)
    backend = SimpleNamespace(config=replace(CONFIGS["sam2_pico"], multimask=candidates))
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    answers = dict(segment_objects(backend, picture, truth))  # type: ignore[arg-type]

    wanted = {
        name: [correction_click(shown, mask) for shown in (EMPTY, *by_click[name][:4])]
        for name, mask in truth.items()
    }
    boxes = [[8.0, 8.0, 20.0, 20.0], [38.0, 28.0, 50.0, 40.0]]
    assert asked[0] == Asked([[], []], boxes, [None, None], False)
    assert asked[1:] == [
        Asked(
            [wanted[name][:count] for name in truth],
            [None, None],
            [None if count == 1 else count - 1] * 2,
            candidates and count == 1,
        )
        for count in range(1, 6)
    ]
    for name, answer in answers.items():
        assert answer.clicks == wanted[name]
        assert answer.iou == pytest.approx(
            {"1 click": SIDE / (SIDE + 5), "3 clicks": 1, "5 clicks": 1, "box": 1 / 2}
        )
