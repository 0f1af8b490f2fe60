"""Prints, as JSON, what the module `tensorrt` holds: classes with their members, functions, signatures.

Run in a process of its own, once for every version.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import tensorrt


def main() -> None:
    classes, functions = {}, {}
    for name, value in vars(tensorrt).items():
        if isinstance(value, type):
            classes[name] = _class(value)
        elif callable(value):
            functions[name] = _signatures(value)
    print(json.dumps({"version": tensorrt.__version__, "classes": classes, "functions": functions}))


def _class(value: type) -> dict[str, Any]:
    """Members by name, those of base classes included; `bases` are the names of the classes above."""
    members: dict[str, Any] = {}
    for one in reversed(value.__mro__[:-1]):
        if one.__module__.startswith("pybind11"):
            continue
        for name, member in vars(one).items():
            if name.startswith("__") and name != "__init__":
                continue
            if isinstance(member, property):
                doc = (member.fget.__doc__ if member.fget else None) or ""
                members[name] = {
                    "kind": "property",
                    "returns": _type(doc.rpartition("->")[2]),
                    "writable": member.fset is not None,
                }
            elif isinstance(member, type):
                members[name] = {"kind": "class", **_class(member)}
            elif name in getattr(value, "__members__", {}) or not callable(member):
                members[name] = {"kind": "value", "returns": type(member).__name__}
            else:
                members[name] = {"kind": "method", "signatures": _signatures(member)}
    return {"members": members, "bases": [one.__name__ for one in value.__mro__[1:-1]]}


def _signatures(function: Any) -> list[dict[str, Any]]:
    """All overloads: parameters in order, whether they may be left out, and the type that is returned."""
    doc = inspect.getdoc(function) or ""
    lines = re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> (.*)$", doc, re.MULTILINE)
    if not lines:
        try:
            names = list(inspect.signature(function).parameters.values())
        except (ValueError, TypeError):
            return []
        known = [{"name": one.name, "optional": one.default is not one.empty} for one in names]
        return [{"parameters": known, "returns": ""}]
    return [{"parameters": _parameters(given), "returns": _type(returned)} for given, returned in lines]


def _parameters(text: str) -> list[dict[str, Any]]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    stripped = [part.strip() for part in parts if part.strip()]
    return [
        {
            "name": re.match(r"\**\w+", one).group(),
            "optional": "=" in one,
            "type": _type(one.split(":", 1)[-1]),
        }  # type: ignore[union-attr]
        for one in stripped
    ]


def _type(text: str) -> str:
    """`IBuilderConfig` of `tensorrt.tensorrt.IBuilderConfig` and of `nvinfer1::IBuilderConfig`."""
    return re.split(r"\.|::", text.split("=")[0].strip())[-1]


if __name__ == "__main__":
    main()
