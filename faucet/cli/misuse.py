"""Turns a wrong command line into one message: what is wrong with it, and the command that was meant.

Words that are no command, paths that cannot be served as they are, options of other programs, values that are wrong on
the command line, in a variable or in `faucet.toml`. Nothing here decides what is right: cyclopts and the converters in
`parameters.py` do.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    ValidationError,
)

from faucet.cli.errors import Misuse, UnknownWord
from faucet.cli.exit_codes import EXIT_USAGE
from faucet.cli.synonyms import NOT_NEEDED, OPTIONS
from faucet.settings import AttachSettings, K8sSettings, LocalSettings, Option, ReplaySettings, TopSettings
from faucet.text import closest

if TYPE_CHECKING:
    from cyclopts import Token

OWNERS = (("local", LocalSettings), ("k8s", K8sSettings), ("attach", AttachSettings), ("top", TopSettings),
          ("replay", ReplaySettings))  # fmt: skip
"""Commands, and the options that they have."""

_OF_CTL = {"--at", "--json", "--now", "--follow", "--last"}


def explain(error: CycloptsError, arguments: Sequence[str], app: App) -> tuple[str, int]:
    """The message for an error that `arguments` led to, and the exit code."""
    from faucet.cli import words

    chain = list(error.command_chain or ())
    text = _single_dash(arguments)
    if isinstance(error, UnknownWord) and not text:
        if error.is_path:
            return words.explain_path(error.word, chain), error.code
        return words.explain_word(error.word, arguments, chain, app), error.code
    if isinstance(error, Misuse) and not text:
        return error.text, error.code
    text = text or words.explain_surplus(error, app) or option_problem(error, arguments) or str(error).strip()
    return f"{text}\nTry `{' '.join(['faucet', *chain])} --help`.", EXIT_USAGE


def option_problem(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return what is wrong with an option or its value; empty if it is something else."""
    if isinstance(error, Misuse):
        return error.text
    if isinstance(error, UnknownOptionError):
        return _unknown_option(error, arguments)
    if isinstance(error, MissingArgumentError):
        return _no_value(error, arguments)
    if isinstance(error, CoercionError | ValidationError):
        return _wrong_value(error)
    return ""


def _all_options() -> set[str]:
    return {_flag(field.name) for _, kind in OWNERS for field in dataclasses.fields(kind)}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _single_dash(arguments: Sequence[str]) -> str:
    """What is wrong with `-workers` or `-host=:80`, where a dash is missing; empty if there is no such thing."""
    for text in arguments:
        if re.match(r"-\w\w", text) and f"-{text.partition('=')[0]}" in _all_options():
            return f"unknown option {text}; did you mean `-{text}`?"
    return ""


# -- unknown options --------------------------------------------------------------------------------------------


def _unknown_option(error: UnknownOptionError, arguments: Sequence[str]) -> str:
    name, equals, value = (error.token.keyword or error.token.value).partition("=")
    if name in NOT_NEEDED:
        return f"unknown option {name}: {NOT_NEEDED[name]}\nSo: {shlex.join(['faucet', *_without_those(arguments)])}"
    known = {name for argument in error.argument_collection for name in argument.names if argument.parse}
    known = {name for name in known if name.startswith("-")}
    given = value if equals else _word_after(name, arguments)
    meant = OPTIONS.get(name.replace("_", "-"), _SHORT.get(name))
    if meant is not None and meant.partition(" ")[0] in known:
        return f"unknown option {name}; did you mean `{_with_value(meant, given)}`?"
    if line := _which_service(name, meant, arguments, known):
        return f"unknown option {name}; name the running Faucet by its port: `{line}`"
    for owner in (name, meant):
        if owner is not None and owner not in known and (command := _owner(owner)):
            if arguments[0] == "doctor" and command in ("faucet local", "faucet k8s"):
                command = command.replace("faucet", "faucet doctor")
            return f"{owner} is an option of `{command}`, for example: `{command} {_with_value(owner, given)}`"
    close = _close(name, known)
    return f"unknown option {name}; did you mean `{_with_value(close, given)}`?" if close else f"unknown option {name}"


def _without_those(arguments: Sequence[str]) -> list[str]:
    """Return the command line without options that are not needed here, and without their values."""
    kept: list[str] = []
    is_value = False
    for text in arguments:
        name, equals, _ = text.partition("=")
        if name in NOT_NEEDED:
            is_value = not equals
        elif is_value and not text.startswith("-"):
            is_value = False
        else:
            is_value = False
            kept.append(text)
    return kept


def _which_service(name: str, meant: str | None, arguments: Sequence[str], known: set[str]) -> str:
    """`faucet ctl status --at 3838` for `ctl status --port 3838`: there, an option like that says which Faucet."""
    if arguments[0] not in ("ctl", "attach") or ("--at" in known and name == "--at"):
        return ""
    if "--host" not in (name, meant) and name != "--at":
        return ""
    given = next(text for text in arguments if text == name or text.startswith(f"{name}="))
    at = list(arguments).index(given)
    value = given.partition("=")[2] or next(iter(arguments[at + 1 :]), "")
    rest = [*arguments[:at], *arguments[at + (1 if "=" in given else 2) :]]
    named = ["--at"] if arguments[0] == "ctl" else []
    return shlex.join(["faucet", *rest, *named, value.rpartition(":")[2] or "3838"])


_SHORT = {
    field.metadata["option"].short: _flag(field.name)
    for _, kind in OWNERS
    for field in dataclasses.fields(kind)
    if field.metadata["option"].short
}


def _close(name: str, known: set[str]) -> str | None:
    """The option that is most like `name`: a whole word in common is better than letters."""
    name = name.replace("_", "-")
    close = closest(name, known)
    parts = [option for option in sorted(known) if len(name) > 4 and name.strip("-") in option.strip("-").split("-")]
    return close or (parts[0] if len(parts) == 1 else None)


def _owner(option: str) -> str | None:
    """The command that has it; local's are everybody's."""
    if option in _OF_CTL:
        return "faucet ctl status" if option in ("--at", "--json") else "faucet ctl"
    for command, kind in OWNERS:
        if any(_flag(field.name) == option for field in dataclasses.fields(kind)):
            return f"faucet {command}"
    return None


def _word_after(name: str, arguments: Sequence[str]) -> str | None:
    """The value that was meant, if one was given."""
    for one, other in itertools.pairwise(arguments):
        if one == name and not other.startswith("-"):
            return other
    return None


def _with_value(option: str, value: str | None) -> str:
    """`--host :8000` for 8000; on this machine alone is what Faucet does by itself, and others may mean that."""
    if value is None or " " in option or _is_flag(option):
        return option
    if option == "--host" and value.isdecimal():
        return f"--host 127.0.0.1:{value}` (this machine alone) or `--host :{value}"
    return f"{option} {shlex.quote(value)}"


def _is_flag(option: str) -> bool:
    """It has no value."""
    return any(
        _flag(field.name) == option and isinstance(field.default, bool)
        for _, kind in OWNERS
        for field in dataclasses.fields(kind)
    )


# -- values -----------------------------------------------------------------------------------------------------


def _no_value(error: MissingArgumentError, arguments: Sequence[str]) -> str:
    argument = error.argument
    assert argument is not None
    if not argument.name.startswith("-") or argument.field_info.is_positional:
        usage = " ".join(["faucet", *(error.command_chain or ()), argument.name.lstrip("-").upper()])
        if not any(text in argument.names for text in arguments):
            return f"{argument.name.lstrip('-').upper()} is missing: {usage}"
    used = next((text for text in arguments if text in argument.names), argument.name)
    after = list(arguments)[list(arguments).index(used) + 1 :][:1] if used in arguments else []
    if after and re.match(r"-[\d.]", after[0]):  # cyclopts takes it for an option
        return f"{used}: {_why_not(argument, after[0])}"
    example = _example(argument.name)
    return f"{used} needs a value" + (f", for example {used} {example}" if example else "")


def _why_not(argument: object, text: str) -> str:
    """Why a value will not do."""
    from cyclopts import Token

    converter = argument.parameter.converter  # type: ignore[attr-defined]
    try:
        converter(str, [Token(keyword=None, value=text, source="cli")])
    except ValueError as error:
        return str(error)
    except TypeError:  # it has none
        pass
    return f"{text!r} is an option, not a value"


def _example(name: str) -> str:
    for _, kind in OWNERS:
        for field in dataclasses.fields(kind):
            if _flag(field.name) == name:
                option: Option = field.metadata["option"]
                return option.example
    return ""


def _wrong_value(error: CoercionError | ValidationError) -> str:
    """With the place where it comes from."""
    argument = error.argument
    if argument is None or not argument.tokens:
        return ""
    token = getattr(error, "token", None) or argument.tokens[0]
    why = error.exception_message if isinstance(error, ValidationError) else str(error.msg or "")
    if not why:  # cyclopts' own words, which name the choices
        why = str(error).strip().partition(". ")[2] or _bool_only(argument)
    if not why.startswith(("'", "invalid ")):
        why = f"{token.value!r} is invalid: {why[:1].lower()}{why[1:]}"
    return f"{_place(token, argument.name)}: {why.rstrip('.')}"


def _bool_only(argument: object) -> str:
    """What cyclopts has no words for."""
    hint = argument.hint  # type: ignore[attr-defined]
    return {bool: "write true or false", float: "write a number", int: "write a whole number"}.get(hint, str(hint))


def _place(token: Token, name: str) -> str:
    """`--workers`, `the variable FAUCET_WORKERS`, `api/faucet.toml: workers`."""
    if token.source == "env":
        return f"the variable {token.keyword}"
    if token.source == "cli" or not token.source:
        return token.keyword or name.lstrip("-").upper()
    return f"{token.source}: {name.removeprefix('--')}"
