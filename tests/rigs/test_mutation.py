"""The mutants of `just mutants`: each is one slip, and the program is left as it was."""

from __future__ import annotations

import ast

from tests.corpora.mutation import mutations

PROGRAM = '''
"""A docstring."""
LIMIT = 5

class Kind(Enum):
    ONE = 1
    TWO = 2

def judge(value: int, known: bool = True) -> Kind | None:
    """Another."""
    if value < 3 and not known:
        return Kind.ONE
    count = min(value, 7)
    return None
'''


def test_each_is_one_slip() -> None:
    found = list(mutations(PROGRAM))
    assert {mutation.where for mutation in found} == {"judge"}
    assert sorted(mutation.change for mutation in found) == sorted(
        [
            "if value < 3 and (not known): -> if True:",
            "if value < 3 and (not known): -> if False:",
            "value < 3 and (not known) -> value < 3 or not known",
            "value < 3 and (not known) -> value < 3",
            "value < 3 and (not known) -> not known",
            "value < 3 -> value <= 3",
            "value < 3 -> value >= 3",
            "3 -> 4",
            "3 -> 2",
            "not known -> known",
            "return Kind.ONE -> return None",
            "Kind.ONE -> Kind.TWO",
            "count = min(value, 7) -> pass",
            "min(value, 7) -> max(value, 7)",
            "7 -> 8",
            "7 -> 6",
            "True -> False",
        ]
    )
    assert len({mutation.source for mutation in found}) == len(found)
    assert all(mutation.source != ast.unparse(ast.parse(PROGRAM)) for mutation in found)
