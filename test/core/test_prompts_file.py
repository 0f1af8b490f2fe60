"""Every prompt of a file is understood; every mistake is named with file, line and what is allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_core.tools.prompts_file import FORMAT, PromptsFileError, read_prompts
from sam2_core.tracking import MaskPrompt, PointPrompt


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.yaml"
    path.write_text(text)
    return path


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 7:20] = 200
    Image.fromarray(mask).save(tmp_path / "mug_0040.png")
    example = FORMAT[FORMAT.index("  prompts:") : FORMAT.index("An object may")]
    first, second, third = read_prompts(write(tmp_path, example)).prompts
    assert (first.object_id, first.label, first.moment.value, first.moment.is_time) == (1, "mug", 0, False)
    assert isinstance(first.prompt, PointPrompt)
    assert first.prompt.points.tolist() == [[412, 305], [520, 80]]
    assert first.prompt.labels.tolist() == [1, 0]
    assert (second.object_id, second.moment.value, second.moment.is_time) == (1, 2.5, True)
    assert isinstance(second.prompt, PointPrompt)
    assert second.prompt.box is not None
    assert second.prompt.box.tolist() == [380, 260, 470, 350]
    assert (third.object_id, third.moment.value) == (2, 40)
    assert isinstance(third.prompt, MaskPrompt)
    assert np.array_equal(third.prompt.mask, mask > 0)


def mask_images() -> dict[str, tuple[np.ndarray, Image.Image]]:
    """By file name: a mask, and an image that shows it."""
    mask = np.zeros((20, 30), bool)
    mask[5:10, 7:20] = True
    grey = mask.astype(np.uint8) * 255
    opaque = np.full_like(grey, 255)
    bright_first = Image.fromarray((~mask).astype(np.uint8))
    bright_first.putpalette([255, 255, 255, 0, 0, 0])
    images = {
        "grey.png": Image.fromarray(grey),
        "bits.png": Image.fromarray(mask),
        "ids.png": Image.fromarray(mask.astype(np.uint16)),
        "bright_first.png": bright_first,
        "palette.gif": bright_first,
        "grey_and_alpha.png": Image.fromarray(np.dstack([grey, opaque])),
        "opaque.png": Image.fromarray(np.dstack([grey, grey, grey, opaque])),
        "white_and_transparent.png": Image.fromarray(np.dstack([opaque, opaque, opaque, grey])),
    }
    return {name: (mask, image) for name, image in images.items()}


@pytest.mark.parametrize("name", mask_images())
def test_a_mask_is_what_its_image_shows_in_any_form(tmp_path: Path, name: str) -> None:
    mask, image = mask_images()[name]
    image.save(tmp_path / name)
    path = write(tmp_path, f"prompts: [{{object: 1, frame: 0, mask: {name}}}]")
    prompt = read_prompts(path).prompts[0].prompt
    assert isinstance(prompt, MaskPrompt)
    assert np.array_equal(prompt.mask, mask)


def test_points_without_labels_are_on_the_object(tmp_path: Path) -> None:
    (one,) = read_prompts(
        write(tmp_path, "prompts: [{object: 1, frame: 0, points: [[1, 2], [3, 4]]}]")
    ).prompts
    assert isinstance(one.prompt, PointPrompt)
    assert one.prompt.labels.tolist() == [1, 1]


def test_the_digest_changes_with_the_file_and_with_its_masks(tmp_path: Path) -> None:
    text = "prompts: [{object: 1, frame: 0, mask: m.png}]"
    digests = set()
    for side, suffix in ((3, ""), (4, ""), (4, " # later")):
        Image.fromarray(np.full((side, side), 255, np.uint8)).save(tmp_path / "m.png")
        digests.add(read_prompts(write(tmp_path, text + suffix)).digest)
    assert len(digests) == 3


HUGE = "9" * 400
GOOD = "prompts:\n- {object: 1, frame: 0, points: [[1, 2]]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the file is empty; allowed: a list 'prompts'"),
        ("prompts: [", ":1: not YAML"),
        ("objects: []", ":1: unknown field 'objects'; allowed: prompts"),
        ("- 1", ":1: the file must be a mapping; allowed fields: prompts"),
        ("prompts: []", ":1: 'prompts' is missing or empty"),
        (
            GOOD + "- 7\n",
            ":3: a prompt must be a mapping; allowed fields: object, label, frame, time, points",
        ),
        (
            GOOD + "- object: 2\n  frame: 1\n  pionts: [[1, 2]]\n",
            ":5: unknown field 'pionts'; allowed: object,",
        ),
        (GOOD + "- object: 2\n  frame: 1\n  frame: 2\n", ":5: field 'frame' is given twice"),
        (
            GOOD + "- frame: 1\n  points: [[1, 2]]\n",
            ":3: 'object' is missing; allowed: the object's id, 1 or",
        ),
        (
            GOOD + "- object: mug\n  frame: 1\n",
            ":3: object: mug is not allowed; allowed: a whole number, 1 or",
        ),
        (GOOD + "- object: 0\n  frame: 1\n", ":3: object: 0 is not allowed"),
        (GOOD + "- object: 1\n  label: [a]\n", r":4: label: \[a\] is not allowed; allowed: a text"),
        (GOOD + "- object: 1\n  points: [[1, 2]]\n", ":3: allowed: either 'frame' .* or 'time'"),
        (GOOD + "- object: 1\n  frame: 1\n  time: 2\n", ":3: allowed: either 'frame' .* or 'time'"),
        (
            GOOD + "- object: 1\n  frame: -3\n",
            ":4: frame: -3 is not allowed; allowed: a whole number, 0 or more",
        ),
        (GOOD + "- object: 1\n  frame: 1.5\n", ":4: frame: 1.5 is not allowed"),
        (GOOD + "- object: 1\n  time: soon\n", ":4: time: soon is not allowed; allowed: seconds, 0 or more"),
        (GOOD + "- object: 1\n  time: .nan\n", ":4: time: .nan is not allowed"),
        (
            GOOD + "- object: 1\n  frame: 1\n  points: [3, 4]\n",
            r":5: points: \[3, 4\] is not allowed; allowed: a",
        ),
        (GOOD + "- object: 1\n  frame: 1\n  points: [[3, x]]\n", r":5: points: \[\[3, x\]\] is not allowed"),
        (
            GOOD + "- object: 1\n  frame: 1\n  points: [[3, 4]]\n  labels: [2]\n",
            r":6: labels: \[2\] is not allowed; allowed: a list of 1 and 0",
        ),
        (
            GOOD + "- object: 1\n  frame: 1\n  points: [[3, 4]]\n  labels: [1, 0]\n",
            ":3: 2 labels for 1 points; allowed: one label a point",
        ),
        (GOOD + "- object: 1\n  frame: 1\n  box: [5, 5, 5, 9]\n", r":5: box: \[5, 5, 5, 9\] is not allowed"),
        (GOOD + "- object: 1\n  frame: 1\n  box: [5, 5]\n", r":5: box: \[5, 5\] is not allowed"),
        (GOOD + "- object: 1\n  frame: 1\n", ":3: the prompt is empty; allowed: points, a box,"),
        (
            GOOD + "- object: 1\n  frame: 1\n  mask: no.png\n",
            ":5: mask .*no.png cannot be read .No such file",
        ),
        (
            GOOD + "- object: 1\n  frame: 1\n  mask: text.png\n",
            ":5: mask .*text.png cannot be read .not a readable image",
        ),
        (
            GOOD + "- object: 1\n  frame: 1\n  mask: black.png\n",
            ":3: mask is empty; allowed: at least one pixel",
        ),
        (
            GOOD + "- object: 1\n  frame: 1\n  mask: a.png\n  box: [1, 1, 2, 2]\n",
            ":5: 'mask' and 'box'; allowed:",
        ),
        (
            GOOD + '- object: 1\n  frame: 1\n  mask: "a\\0b"\n',
            r':5: mask: "a\\0b" is not allowed; allowed: the path of an image',
        ),
        (GOOD + '- object: 1\n  frame: 1\n  mask: "\\ud800"\n', ":5: mask .* cannot be read .surrogates"),
        (GOOD + "- object: 1\n  label: a\0b\n", r":4: not YAML \(special characters are not allowed\)"),
        (GOOD + f"- object: 1\n  frame: {HUGE}\n", f":4: frame: {HUGE} is not allowed"),
        (GOOD + f"- object: 1\n  time: {HUGE}\n", f":4: time: {HUGE} is not allowed"),
        (
            GOOD + f"- object: 1\n  frame: 1\n  points: [[{HUGE}, 1]]\n",
            rf":5: points: \[\[{HUGE}, 1\]\] is not allowed",
        ),
        ("[" * 3000, r": cannot be read \(nested too deeply\)"),
    ],
)
def test_each_mistake_is_named_with_file_line_and_what_is_allowed(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "text.png").write_text("nothing to see")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(PromptsFileError, match=r"prompts\.yaml" + message):
        read_prompts(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptsFileError, match=r"none\.yaml: cannot be read .No such file"):
        read_prompts(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptsFileError, match=r"binary\.yaml: cannot be read .not UTF-8 text"):
        read_prompts(tmp_path / "binary.yaml")
