"""Changes of a program, one at a time, each as small as a slip: what a test suite that means it must notice.

Comparisons are turned, conditions fixed or negated, statements dropped, results forgotten, constants and members of
enums exchanged, in functions. What a module or a class defines outside of them are choices, which no test can judge.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

EXCHANGED = {"min": "max", "max": "min"}

UNTOUCHED = ("annotation", "returns", "type_comment", "decorator_list", "bases")


class Mutation(NamedTuple):
    """One change."""

    line: int
    where: str
    """The function it is in."""
    change: str
    """`old -> new`."""
    source: str
    """The whole program with it."""

    @property
    def name(self) -> str:
        """Without the number of the line, so that it stays what it is when others change."""
        return f"{self.where}: {self.change}"


class Site(NamedTuple):
    """A place in the tree whose content can be replaced."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    where: str
    """The class and the function; empty outside of functions."""

    def put(self, node: ast.AST) -> None:
        """Have this node there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def sites(parent: ast.AST, owner: str = "", inside: bool = False) -> Iterator[Site]:
    """All places below a node; `inside` a function or not."""
    for name, value in ast.iter_fields(parent):
        if name in UNTOUCHED:
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(node, ast.AST):
                yield Site(parent, name, index, node, owner if inside else "")
                yield from _below(node, owner, inside)


def _below(node: ast.AST, owner: str, inside: bool) -> Iterator[Site]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        owner = f"{owner}.{node.name}".lstrip(".")
    return sites(node, owner, inside or isinstance(node, ast.FunctionDef))


def members(tree: ast.Module) -> dict[str, list[str]]:
    """The enums of a program, and the names in them."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    enums = [node for node in classes if any(getattr(base, "id", "") == "Enum" for base in node.bases)]
    return {
        node.name: [item.targets[0].id for item in node.body if isinstance(item, ast.Assign)]  # type: ignore[attr-defined]
        for node in enums
    }


def replacements(node: ast.AST, enums: dict[str, list[str]]) -> Iterator[ast.AST]:
    """What a node could be by a slip."""
    match node:
        case ast.Compare(left, [operator], right):
            for other in TURNED.get(type(operator), ()):
                yield ast.Compare(left, [other()], right)
        case ast.Constant(value) if isinstance(value, bool):
            yield ast.Constant(not value)
        case ast.Constant(value) if isinstance(value, int | float):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Attribute(ast.Name(enum), member, context) if enum in enums:
            others = [name for name in enums[enum] if name != member]
            yield from (ast.Attribute(ast.Name(enum), name, context) for name in others)
        case _:
            yield from expressions(node)
            yield from statements(node)


def expressions(node: ast.AST) -> Iterator[ast.AST]:
    """What an expression of several could be by a slip."""
    match node:
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield from (ast.IfExp(test, orelse, body), body, orelse)
        case ast.BinOp(left, ast.Add() | ast.Sub() as operator, right):
            yield ast.BinOp(left, ast.Sub() if isinstance(operator, ast.Add) else ast.Add(), right)
        case ast.Call(ast.Name(name), arguments, keywords) if name in EXCHANGED:
            yield ast.Call(ast.Name(EXCHANGED[name]), arguments, keywords)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement could be by a slip: not there, or with another condition."""
    match node:
        case ast.Expr(ast.Constant()):
            return  # a docstring
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.Return(value) if value is not None and not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.If(body=body, orelse=orelse):
            yield ast.If(ast.Constant(True), body, orelse)
            yield ast.If(ast.Constant(False), body, orelse)


def first_line(node: ast.AST) -> str:
    """A node as it is written, if that is short."""
    return ast.unparse(ast.fix_missing_locations(node)).partition("\n")[0]


def mutations(source: str) -> Iterator[Mutation]:
    """All of them."""
    tree = ast.parse(source)
    enums = members(tree)
    for site in [site for site in sites(tree) if site.where]:
        line: int = getattr(site.node, "lineno", 0)
        for other in replacements(site.node, enums):
            change = f"{first_line(site.node)} -> {first_line(other)}"
            site.put(other)
            try:
                yield Mutation(line, site.where, change, ast.unparse(ast.fix_missing_locations(tree)))
            finally:
                site.put(site.node)
