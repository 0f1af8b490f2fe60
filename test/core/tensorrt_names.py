"""Finds every name of TensorRT in a piece of Python, and checks it against what a version's bindings hold.

Types are followed from annotations (`engine: trt.ICudaEngine`), constructors and the return types of
methods. On an object of a known type every attribute and every call is checked: that it exists, that it may
be assigned, and that the arguments fit one of its signatures. Where a name is TensorRT's and the object's
type is not known, that is a finding too: annotate it. What stands below `if hasattr(x, "name"):` may lack in
some versions, not in all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Bindings = Mapping[str, Any]
"""Of one version, as `tensorrt_describe.py` prints them."""


@dataclass(frozen=True)
class _Thing:
    """What an expression is: the module, a class, an object of a class, a method, a function."""

    kind: str
    name: str = ""
    described: Any = None


class TensorRTNames(ast.NodeVisitor):
    """Collects the findings about one source file.

    Args:
        source: of the file.
        bindings: what it is checked against.
        all_bindings: those of all versions; what is guarded by hasattr must be in one of them.
    """

    def __init__(self, source: str, bindings: Bindings, all_bindings: Sequence[Bindings]) -> None:
        self.findings: list[str] = []
        self.checked: set[str] = set()
        """Everything that was looked up and found, as `IBuilderConfig.clear_flag`."""
        self._bindings = bindings
        self._all = all_bindings
        self._aliases: set[str] = set()
        self._scopes: list[dict[str, _Thing]] = [{}]
        self._fields: dict[str, _Thing] = {}
        self._guards: list[tuple[str, str]] = []
        tree = ast.parse(source)
        self._own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self._foreign = {
            member
            for one in all_bindings
            for described in one["classes"].values()
            for member in described["members"]
            if "_" in member.strip("_")
        }
        self.visit(tree)

    # scopes

    def visit_Import(self, node: ast.Import) -> None:
        self._aliases |= {one.asname or one.name for one in node.names if one.name == "tensorrt"}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "tensorrt" and not node.level:
            self._say(node, "import tensorrt as a whole, so that its names can be found")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        fields, self._fields = self._fields, {}
        for one in ast.walk(node):
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Attribute):
                self._fields[one.target.attr] = self._annotated(one.annotation)
        for base in node.bases:
            thing = self._infer(base)
            if thing.kind == "class":
                self._check_overrides(node, thing)
        self.generic_visit(node)
        self._fields = fields

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        scope = {one.arg: self._annotated(one.annotation) for one in given if one.annotation}
        self._scopes.append({one.arg: _Thing("unknown") for one in given} | scope)
        self.generic_visit(node)
        self._scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self._scopes[-1][node.target.id] = self._annotated(node.annotation)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        targets, values = [node.targets[0]], [node.value]
        if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            targets, values = node.targets[0].elts, node.value.elts
        for target, value in zip(targets, values, strict=True):
            if isinstance(target, ast.Name):
                self._scopes[-1][target.id] = self._infer(value)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        guards = list(_guards(node.test))
        self._guards += guards
        for statement in node.body:
            self.visit(statement)
        del self._guards[len(self._guards) - len(guards) :]
        for statement in node.orelse:
            self.visit(statement)

    # checks

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._infer(node.value)
        if owner.kind == "unknown" and node.attr in self._foreign - self._own:
            self._say(node, f"{ast.unparse(node)}: annotate {ast.unparse(node.value)}, or rename")
        if owner.kind not in ("module", "class", "object"):
            return
        found = self._member(owner, node.attr)
        if found is None:
            if not self._is_guarded(node, owner):
                self._say(node, f"{owner.name or 'tensorrt'} has no {node.attr}")
            return
        self.checked.add(f"{owner.name or 'tensorrt'}.{node.attr}")
        if isinstance(node.ctx, ast.Store) and not (
            owner.kind == "object" and found.described.get("writable")
        ):
            self._say(node, f"{owner.name}.{node.attr} cannot be assigned")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self._infer(node.func)
        if called.kind == "class":
            constructor = called.described["members"].get("__init__", {})
            signatures, bound = constructor.get("signatures", []), True
        elif called.kind in ("method", "function"):
            signatures = called.described
            owner = (
                self._infer(node.func.value) if isinstance(node.func, ast.Attribute) else _Thing("unknown")
            )
            bound = owner.kind == "object"
        else:
            return
        problems = [self._mismatch(node, one["parameters"][1 if bound else 0 :]) for one in signatures]
        if problems and all(problems):
            self._say(node, f"{called.name}: {problems[0]}")

    def _mismatch(self, call: ast.Call, parameters: Sequence[Mapping[str, Any]]) -> str:
        """Why the arguments of a call do not fit; empty: they fit."""
        if any(isinstance(one, ast.Starred) for one in call.args) or any(
            not one.arg for one in call.keywords
        ):
            return "arguments that are unpacked cannot be checked"
        if len(call.args) > len(parameters):
            return f"takes {len(parameters)} arguments, not {len(call.args)}"
        given = dict(zip((one["name"] for one in parameters), call.args, strict=False))
        by_name = {one["name"]: one for one in parameters}
        for keyword in call.keywords:
            if keyword.arg not in by_name or keyword.arg in given:
                return f"has no argument {keyword.arg}, or has it twice"
            given[str(keyword.arg)] = keyword.value
        for name, one in by_name.items():
            if name not in given and not one["optional"]:
                return f"lacks argument {name}"
        for name, value in given.items():
            thing, wanted = self._infer(value), by_name[name].get("type", "")
            known = wanted in self._bindings["classes"]
            if thing.kind == "object" and known and wanted not in (thing.name, *thing.described["bases"]):
                return f"argument {name} is {thing.name}, not {wanted}"
        return ""

    def _check_overrides(self, node: ast.ClassDef, base: _Thing) -> None:
        """Every method of an interface has to be there, with the parameters that TensorRT gives it."""
        own = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
        for name, member in base.described["members"].items():
            if member["kind"] != "method" or name.startswith("_"):
                continue
            if name not in own:
                self._say(node, f"{node.name} does not define {base.name}.{name}")
                continue
            self.checked.add(f"{base.name}.{name}")
            wanted = [one["name"] for one in member["signatures"][0]["parameters"]]
            given = [one.arg for one in own[name].args.args]
            if given != wanted:
                self._say(own[name], f"{base.name}.{name} takes {wanted}, not {given}")

    # types

    def _infer(self, node: ast.expr) -> _Thing:
        unknown = _Thing("unknown")
        if isinstance(node, ast.Name):
            if node.id in self._aliases:
                return _Thing("module")
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), unknown)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in self._fields:
                return self._fields[node.attr]
            owner = self._infer(node.value)
            known = owner.kind in ("module", "class", "object")
            return (self._member(owner, node.attr) if known else None) or unknown
        if isinstance(node, ast.Call):
            called = self._infer(node.func)
            if called.kind == "class":
                return _Thing("object", called.name, called.described)
            if called.kind in ("method", "function") and called.described:
                return self._object(called.described[0]["returns"])
        return unknown

    def _member(self, owner: _Thing, name: str) -> _Thing | None:
        """An attribute of the module, a class or an object; None: there is none."""
        if owner.kind == "module":
            if name in self._bindings["classes"]:
                return _Thing("class", name, self._bindings["classes"][name])
            if name in self._bindings["functions"]:
                return _Thing("function", name, self._bindings["functions"][name])
            return _Thing("value", name) if name == "__version__" else None
        member = owner.described["members"].get(name) if owner.described else {"kind": "unknown"}
        if member is None:
            return None
        path = f"{owner.name}.{name}"
        if member["kind"] == "class":
            return _Thing("class", path, member)
        if member["kind"] == "method":
            return _Thing("method", path, member["signatures"])
        if member["kind"] == "value":
            enumeration = owner.kind == "class"
            return (
                _Thing("object", owner.name, owner.described)
                if enumeration
                else self._object(member["returns"])
            )
        found = self._object(member.get("returns", ""))
        if found.kind == "object":
            return _Thing("object", found.name, {**found.described, "writable": member["writable"]})
        return _Thing("property", path, member)

    def _object(self, type_name: str) -> _Thing:
        described = self._bindings["classes"].get(type_name)
        return _Thing("object", type_name, described) if described else _Thing("unknown")

    def _annotated(self, annotation: ast.expr | None) -> _Thing:
        """An object of the annotated class; `X | None` is an X."""
        if isinstance(annotation, ast.BinOp):
            annotation = annotation.left
        thing = self._infer(annotation) if annotation is not None else _Thing("unknown")
        return _Thing("object", thing.name, thing.described) if thing.kind == "class" else _Thing("unknown")

    def _is_guarded(self, node: ast.Attribute, owner: _Thing) -> bool:
        if (ast.unparse(node.value), node.attr) not in self._guards:
            return False
        classes = [one["classes"].get(owner.name, {"members": {}}) for one in self._all]
        if owner.kind == "module":
            return any(node.attr in {**one["classes"], **one["functions"]} for one in self._all)
        return any(node.attr in one["members"] for one in classes)

    def _say(self, node: ast.stmt | ast.expr, text: str) -> None:
        self.findings.append(f"line {node.lineno}: {text}")


def _guards(test: ast.expr) -> Iterator[tuple[str, str]]:
    """What `hasattr(x, "name")` says, alone or joined by `and`: x as it is written, and the name."""
    for node in test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]:
        match = re.fullmatch(r"hasattr\((.+), '(\w+)'\)", ast.unparse(node))
        if match:
            yield match[1], match[2]
