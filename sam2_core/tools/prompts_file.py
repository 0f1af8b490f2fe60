"""prompts.yaml: what the objects of a recording are, for `sam2-video` and `sam2-bag`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..image_files import ImageFileError, read_mask
from ..tracking import MaskPrompt, PointPrompt, Prompt, PromptError

FORMAT = """\
prompts file (YAML): a list of prompts, each for one object on one frame

  prompts:
    - object: 1                        # id of the object: 1, 2, ...
      label: mug                       # a name for people (optional)
      frame: 0                         # on which frame, counted from 0 ...
      points: [[412, 305], [520, 80]]  # x, y in pixels from the top left corner
      labels: [1, 0]                   # one per point: 1 on the object, 0 not on it (default: all 1)
    - object: 1
      time: 2.5                        # ... or the first one so many seconds after the first frame
      box: [380, 260, 470, 350]        # x0, y0, x1, y1; may come with points
    - object: 2
      frame: 40
      mask: mug_0040.png               # an image of the frame's size, black or transparent where the
                                       # object is not; its path is relative to the prompts file

An object may be prompted on as many frames as it takes.
"""

_FIELDS = ("object", "label", "frame", "time", "points", "labels", "box", "mask")
_ROUNDING = 1e-3
"""Times are written with few digits: a frame may be this much earlier than its prompt [s]."""
_Value = TypeVar("_Value")


class PromptsFileError(ValueError):
    """A mistake in a prompts file; the message begins with the file and the line."""


@dataclass(frozen=True)
class Moment:
    """When a prompt is meant: on a frame by number, or at a time."""

    value: float
    """A frame's number, or seconds after the first frame."""
    is_time: bool

    def is_reached(self, frame: int, seconds: float) -> bool:
        """Whether a frame, so many seconds after the first one, is the one that is meant or a later one."""
        return seconds >= self.value - _ROUNDING if self.is_time else frame >= self.value


@dataclass(frozen=True)
class FilePrompt:
    """One prompt of a file."""

    place: str
    """File and line, for messages."""
    object_id: int
    label: str
    moment: Moment
    prompt: Prompt

    def fails(self, reason: str | Exception) -> PromptsFileError:
        """The error that names this prompt's place."""
        return PromptsFileError(f"{self.place}: {reason}")


@dataclass(frozen=True)
class PromptsFile:
    """All prompts of a file, in the file's order."""

    prompts: tuple[FilePrompt, ...]
    digest: str
    """SHA-256 of the file and of the masks that it names."""


def read_prompts(path: Path) -> PromptsFile:
    """Reads a prompts file; everything that can be wrong without knowing the frames is found here.

    Raises:
        PromptsFileError: the file cannot be read, or something in it is not allowed.
    """
    try:
        text = path.read_text("utf-8")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise PromptsFileError(f"{path}: cannot be read ({reason})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PromptsFileError(f"{path}:{line}: not YAML ({error.problem})") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PromptsFileError(f"{path}:{line}: not YAML ({error.reason})") from error
    except RecursionError as error:
        raise PromptsFileError(f"{path}: cannot be read (nested too deeply)") from error
    reader = _Reader(path, loader, hashlib.sha256(text.encode()))
    return PromptsFile(reader.all(root), reader.digest.hexdigest())


class _Reader:
    """Reads the nodes of a parsed file, which know their lines."""

    def __init__(self, path: Path, loader: yaml.SafeLoader, digest: Any) -> None:
        self._path = path
        self._loader = loader
        self.digest = digest

    def all(self, root: yaml.Node | None) -> tuple[FilePrompt, ...]:
        if root is None:
            raise PromptsFileError(f"{self._path}:1: the file is empty; allowed: a list 'prompts'")
        fields = self._mapping(root, "the file", ("prompts",))
        items = fields.get("prompts")
        if not isinstance(items, yaml.SequenceNode) or not items.value:
            raise self._error(items or root, "'prompts' is missing or empty; allowed: a list of prompts")
        return tuple(self._prompt(item) for item in items.value)

    def _prompt(self, node: yaml.Node) -> FilePrompt:
        fields = self._mapping(node, "a prompt", _FIELDS)
        if "object" not in fields:
            raise self._error(node, "'object' is missing; allowed: the object's id, 1 or more")
        object_id = self._value(fields["object"], "object", _id, "a whole number, 1 or more")
        label = self._value(fields["label"], "label", _text, "a text") if "label" in fields else ""
        moment = self._moment(node, fields)
        try:
            prompt = self._mask(fields) if "mask" in fields else self._points(fields)
        except PromptError as error:
            raise self._error(node, str(error)) from error
        return FilePrompt(self._place(node), object_id, label, moment, prompt)

    def _moment(self, node: yaml.Node, fields: dict[str, yaml.Node]) -> Moment:
        if ("frame" in fields) == ("time" in fields):
            raise self._error(node, "allowed: either 'frame' (from 0) or 'time' (in seconds)")
        if "frame" in fields:
            return Moment(self._value(fields["frame"], "frame", _count, "a whole number, 0 or more"), False)
        return Moment(self._value(fields["time"], "time", _seconds, "seconds, 0 or more"), True)

    def _points(self, fields: dict[str, yaml.Node]) -> PointPrompt:
        points: list[list[float]] = []
        if "points" in fields:
            points = self._value(fields["points"], "points", _pairs, "a list of [x, y]")
        labels = [1] * len(points)
        if "labels" in fields:
            labels = self._value(fields["labels"], "labels", _labels, "a list of 1 and 0, one per point")
        box = None
        if "box" in fields:
            box = self._value(fields["box"], "box", _box, "[x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        return PointPrompt(points, labels, box)

    def _mask(self, fields: dict[str, yaml.Node]) -> MaskPrompt:
        node = fields["mask"]
        others = [name for name in ("points", "labels", "box") if name in fields]
        if others:
            raise self._error(node, f"'mask' and '{others[0]}'; allowed: a mask alone, or points and box")
        path = self._path.parent / self._value(node, "mask", _text, "the path of an image")
        try:
            self.digest.update(path.read_bytes())
            return MaskPrompt(read_mask(path))
        except OSError as error:
            raise self._error(node, f"mask {path} cannot be read ({error.strerror})") from error
        except (ImageFileError, UnicodeEncodeError) as error:
            raise self._error(node, f"mask {path} cannot be read ({error.reason})") from error

    def _mapping(self, node: yaml.Node, what: str, allowed: tuple[str, ...]) -> dict[str, yaml.Node]:
        expected = ", ".join(allowed)
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what} must be a mapping; allowed fields: {expected}")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in allowed:
                raise self._error(key, f"unknown field '{key.value}'; allowed: {expected}")
            if key.value in fields:
                raise self._error(key, f"field '{key.value}' is given twice")
            fields[key.value] = value
        return fields

    def _value(self, node: yaml.Node, name: str, read: Callable[[Any], _Value], allowed: str) -> _Value:
        """The value of a field, as `read` makes it; where that fails, the value is not allowed."""
        try:
            value = self._loader.construct_object(node, deep=True)
            return read(value)
        except (ValueError, TypeError, OverflowError, RecursionError, yaml.YAMLError) as error:
            given = self._source(node)
            raise self._error(node, f"{name}: {given} is not allowed; allowed: {allowed}") from error

    def _source(self, node: yaml.Node) -> str:
        buffer = node.start_mark.buffer
        if buffer is None:
            return "this"
        return " ".join(buffer[node.start_mark.pointer : node.end_mark.pointer].split()) or "nothing"

    def _place(self, node: yaml.Node) -> str:
        return f"{self._path}:{node.start_mark.line + 1}"

    def _error(self, node: yaml.Node, message: str) -> PromptsFileError:
        return PromptsFileError(f"{self._place(node)}: {message}")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError
    return value


def _id(value: Any) -> int:
    if _count(value) < 1:
        raise ValueError
    return int(value)


def _seconds(value: Any) -> float:
    if not 0 <= (seconds := _number(value)) < float("inf"):
        raise ValueError
    return seconds


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _pairs(value: Any) -> list[list[float]]:
    points = [[_number(number) for number in point] for point in value]
    if not points or any(len(point) != 2 for point in points):
        raise ValueError
    return points


def _labels(value: Any) -> list[int]:
    labels = [_count(label) for label in value]
    if any(label > 1 for label in labels):
        raise ValueError
    return labels


def _box(value: Any) -> list[float]:
    x0, y0, x1, y1 = (_number(number) for number in value)
    if not (x0 < x1 and y0 < y1):
        raise ValueError
    return [x0, y0, x1, y1]
