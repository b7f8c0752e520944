"""The words of `--command`: split as a shell would, but run without one.

Syntax that only a shell understands (`&&`, `$VAR`, `A=1 program`) is an error before anything is started.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path


class CommandError(Exception):
    """The command cannot be run. The text tells the user why, and the next step."""


_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)

_OPERATOR = re.compile(r"&&|\|\||(?:(?<=\s)|^)(?:\||&|<)(?=\s|$)|(?<=\s)[12&]?>>?&?[\w./-]*|;(?=\s|$)|\$\(|`")
"""`&&`, `|`, `> file`, `2>&1`, `&` at the end, `;`, outside of quotes. A lone & or ; within a word may be a URL's."""

_VARIABLE = re.compile(r"(?<![\w.)\]])\$\{?(?:FAUCET_PORT|PORT|PLUMBER_PORT|PLUMBER2_PORT)\b\}?")
"""`$PORT`, but not `config$PORT`, which is R."""

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

_SCRIPT_FOLLOWS = re.compile(r"-[A-Za-z]*c")
"""`-c`, `-lc`: the next word is for a shell that the command starts itself."""


def parse_command(command: str, directory: Path) -> tuple[str, ...]:
    """Return the program's path, and its arguments. Raises CommandError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"--command {command!r} cannot be split into words: {error}") from error
    if not words:
        raise CommandError("--command is empty; write a program and its arguments: --command 'Rscript run.R'")
    problem = _needs_shell(command, words)
    if problem:
        raise CommandError(f"--command: {problem}")
    program = words[0]
    found = shutil.which(str(directory / program) if os.sep in program else program)
    if found is None:
        raise CommandError(f"--command: {program!r} is not an executable program in {directory} or on PATH")
    return (str(Path(found).absolute()), *words[1:])


def quote(word: str) -> str:
    """Return `word` as it is typed in a shell: as by shlex.quote, but with quotes within quotes that can be read."""
    if "'" in word and not set(word) & set("$`\\!"):
        return '"' + word.replace('"', '\\"') + '"'
    return shlex.quote(word)


def _needs_shell(command: str, words: list[str]) -> str:
    """Return what only a shell would do, and what to write instead; an empty text if there is nothing of that."""
    if operator := _OPERATOR.search(_QUOTED.sub("q", command)):
        inner = shlex.quote(command) if set(command) & set('"\\') else f'"{command}"'
        return f"there is no shell that understands {operator[0]!r}; start one: --command {quote(f'sh -c {inner}')}"
    if _ASSIGNMENT.match(words[0]):
        return f"there is no shell that sets {words[0]!r}; write: --command {quote(f'env {command}')}"
    if variable := _bare_variable(words):
        return f"there is no shell that replaces {variable}; write {{port}} instead, or start one: sh -c '...'"
    return ""


def _bare_variable(words: list[str]) -> str:
    """Return the port's variable in a word that no shell will read; ssh has one at the other end."""
    if Path(words[0]).name == "ssh":
        return ""
    for before, word in zip(["", *words], words, strict=False):
        match = _VARIABLE.search(word)
        if match and not _SCRIPT_FOLLOWS.fullmatch(before):
            return match[0]
    return ""
