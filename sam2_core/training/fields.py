"""Values of a YAML file as dataclasses, checked against the types of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_Record = TypeVar("_Record")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def build(record: type[_Record], values: Mapping[str, Any]) -> _Record:
    """A dataclass from the values of its fields; those that are left out keep their default.

    Fields are bool, int, float, str, dataclasses, and tuples or dictionaries (with str keys) of these.

    Raises:
        TypeError: a key is not a field, or a value is not of its field's type; the message names it.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r} is not allowed here: keys of {record.__name__} are")
    hints = get_type_hints(record)
    known = [one.name for one in fields(record)]  # type: ignore[arg-type]
    if unknown := [key for key in values if key not in known]:
        raise TypeError(f"{unknown[0]} is unknown; allowed: {', '.join(known)}")
    return record(**{name: _convert(name, hints[name], value) for name, value in values.items()})


def _convert(name: str, kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return build(kind, value)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} is {value!r}; allowed: a list")
        return tuple(_convert(name, get_args(kind)[0], one) for one in value)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} is {value!r}; allowed: a mapping")
        return {str(key): _convert(f"{name}.{key}", get_args(kind)[1], one) for key, one in value.items()}
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)  # YAML takes 5e-6 for a text, because it has no dot
        except ValueError:
            pass
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}; allowed: {_WORDS[kind]}")
    return value
