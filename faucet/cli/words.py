"""Explains a word that is not a command: what was probably meant, and the command that does it."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

from faucet.cli.synonyms import COMMANDS, NO_COMMANDS
from faucet.machine import NO_CWD, has_cwd
from faucet.text import LOOSELY, closest
from faucet.workers import near_misses

OWN = ("demo", "k8s", "attach", "top", "replay", "doctor", "init", "config", "example", "completion")
"""Commands in the order in which people need them; `ctl` has its own."""


def _names(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def explain(word: str, rest: Sequence[str], app: App) -> str:
    """The message for `word` where a command is expected; `rest` are the arguments behind it. Empty: it is unknown."""
    if word in NO_COMMANDS:
        return f"{word!r} is not a faucet command: {NO_COMMANDS[word]}"
    command = _meant(word, rest, app)
    if not command:
        return ""
    text = f"{word!r} is not a faucet command. Did you mean: {command}"
    return text + (f"\nTo serve the directory of that name: faucet ./{word}" if Path(word).is_dir() else "")


def explain_word(word: str, arguments: Sequence[str], chain: Sequence[str], app: App) -> str:
    """The message for `word`, which is neither a command nor a directory, behind the commands in `chain`."""
    if word in _names(app):
        rest = [other for other in arguments if other != word]
        return f"{word!r} is a command, and has to come first: {_line(word, *rest)}"
    if not chain and (text := explain(word, (), app)):
        return text
    if text := _as_address(word):
        return text
    path = Path(word)
    if os.path.lexists(path) or _is_lost(path) or chain or "/" in word or re.search(r"^[.~]|\.\w+$", word):
        return explain_path(word, chain)
    return _unknown(word, app)


def explain_path(word: str, chain: Sequence[str]) -> str:
    """Return the message for a path that is not a directory, behind the commands in `chain`, with --dir or without."""
    path = Path(word)
    if os.path.lexists(path):
        return _file(path, chain)
    if _is_lost(path):
        return NO_CWD
    return f"{word} does not exist; name the directory of your API{_similar(path, chain)}"


def _is_lost(path: Path) -> bool:
    return not path.is_absolute() and not has_cwd()


def _line(*words: str) -> str:
    return shlex.join(["faucet", *words])


def _meant(word: str, rest: Sequence[str], app: App) -> str:
    """The command that does what `word` does elsewhere; empty if none does."""
    if word in _names(app["ctl"]):
        return _ctl_line(word, rest, app)
    if word not in COMMANDS:
        return ""
    if word == "help":
        return _line(*[part for part in rest if not part.startswith("-")], "--help")
    words = COMMANDS[word].split()
    if words[:1] == ["ctl"]:
        return _ctl_line(words[1], [*words[2:], *rest], app)
    return _line(*words, *rest)


def _ctl_line(name: str, rest: Sequence[str], app: App) -> str:
    """`faucet ctl NAME …`: with what it needs, and a port that is not named as one."""
    needed = _needed(name, app)
    plain = [word for word in rest if not word.startswith("-")]
    if needed and not plain:
        also = "; all of them, one after the other: faucet ctl rolling-restart" if name == "restart" else ""
        return f"{_line('ctl', name, *rest)} {' '.join(needed)}{also}"
    if not needed and name != "logs" and len(rest) == 1 and plain and plain[0].isdecimal():
        return _line("ctl", name, "--at", plain[0])
    return _line("ctl", name, *rest)


def _needed(name: str, app: App) -> list[str]:
    """The words that a command of ctl cannot do without."""
    command = app["ctl"][name].default_command
    parameters = inspect.signature(command).parameters.values() if command is not None else ()
    return [
        parameter.name.upper()
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty
    ]


def _as_address(word: str) -> str:
    """Where a URL, an address or a bastion belongs."""
    if re.match(r"https?://", word):
        return f"{word!r} is not a directory. To serve the pods of a service: {_line('k8s', '--service-url', word)}"
    if re.fullmatch(r"\d{2,5}", word) and not Path(word).exists():
        return (
            f"{word!r} is not a directory. To serve on that port: {_line('--host', f'127.0.0.1:{word}')}\n"
            f"To watch the Faucet that serves on it: {_line('attach', word)}"
        )
    if re.fullmatch(r"(\[[\da-f:]+\]|[\w.-]*):\d{1,5}", word, re.IGNORECASE):
        return f"{word!r} is not a directory. To listen on that address: {_line('--host', word)}"
    if re.fullmatch(r"[\w.-]+@[\w.-]+(:\d+)?", word):
        return (
            f"{word!r} is not a directory. To watch a Faucet on that machine: {_line('attach', '--via-ssh', word)}\n"
            f"To serve the pods of a service behind it: {_line('k8s', '--via-ssh', word)}"
        )
    return ""


def _file(path: Path, chain: Sequence[str]) -> str:
    """Return what to do with a path that exists, but is not a directory."""
    where = [*chain, *([] if path.parent == Path() else [str(path.parent)])]
    if not path.exists():
        return f"{path} is a symbolic link to nothing ({path.readlink()}); name the directory of your API"
    if not path.is_file():
        return f"{path} is not a directory; name the directory of your API"
    name = path.name.lower()
    if name in ("plumber.r", "entrypoint.r", "_server.yml"):
        first = next((other for other in ("entrypoint.R", "plumber.R") if (path.parent / other).is_file()), path.name)
        also = f", which runs {first}" if first.lower() != name else ""
        return f"{path} is a file, and Faucet serves directories: {_line(*where)}{also}"
    if name.endswith(".toml"):
        return f"{path} is a file with options: {_line('--config', str(path))}"
    program = {".r": "Rscript", ".py": "python3", ".js": "node", ".sh": "sh"}.get(path.suffix.lower())
    if program is None:
        return f"{path} is a file; name the directory of your API: {_line(*where)}"
    if program == "Rscript" and near_misses.only_annotations(path):
        return (
            f"{path} has endpoints of Plumber, but not the name: rename it to {path.with_name('plumber.R')}, "
            f"then: {_line(*where)}"
        )
    if program == "Rscript" and near_misses.is_shiny(path):
        return f"{path} is a Shiny app. {near_misses.NO_SHINY}"
    command = ["--command", f"{program} {shlex.quote(path.name)}"]
    return f"{path} is a file, and Faucet serves directories. To run it: {_line(*where, *command)}"


def _similar(path: Path, chain: Sequence[str] = ()) -> str:
    """`; did you mean my-api?`: a directory beside the one that is not there."""
    parent = path.parent
    try:
        names = [entry.name for entry in os.scandir(parent) if entry.is_dir()]
    except OSError:
        return ""
    close = closest(path.name, names, LOOSELY)
    return f"; did you mean {_line(*chain, str(parent / close))}?" if close else ""


def _unknown(word: str, app: App) -> str:
    """Return the message for an unknown word: similar commands, and all commands."""
    names, ctl = _names(app), _names(app["ctl"])
    close = closest(word.lower(), dict.fromkeys((*COMMANDS, *ctl, *names)))
    hint = f"; did you mean {_meant(close, (), app) or _line(close)}?" if close else _similar(Path(word))
    return f"unknown command {word!r}: it is neither a command nor a directory{hint}\nCommands:\n{overview(app)}"


def overview(app: App) -> str:
    """All commands, with a line each."""
    rows = [("faucet [DIR]", app["local"].help)]
    rows += [(f"faucet {name}", app[name].help) for name in OWN]
    rows.append(("faucet ctl …", f"{', '.join(_names(app['ctl']))}."))
    return "\n".join(f"  {name:18} {_sentence(text)}" for name, text in rows)


def _sentence(text: str) -> str:
    """The first one, without what an option says better."""
    return re.split(r"[.:](?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def explain_surplus(error: CycloptsError, app: App) -> str:
    """A word more than a command takes, or one that ctl does not know; empty if it is something else."""
    words = list(error.unused_tokens or ())
    chain = [word for word in error.command_chain or () if word]
    if isinstance(error, UnknownCommandError) and chain[:1] == ["ctl"] and words:
        return _unknown_to_ctl(words[0], words[1:], app)
    if not isinstance(error, UnusedCliTokensError) or not words:
        return ""
    command = " ".join(["faucet", *chain])
    if chain[:1] == ["ctl"] and words[0].isdecimal():
        return f"unexpected argument {words[0]!r}; a port is named with --at: {command} --at {words[0]}"
    if address := _as_address(words[0]):
        return address.replace("is not a directory", f"is not an argument of `{command}`")
    known = "; one directory can be served" if not chain or chain[0] in ("local", "start") else ""
    return f"unexpected argument {words[0]!r}{known}"


def _unknown_to_ctl(word: str, rest: Sequence[str], app: App) -> str:
    names = _names(app["ctl"])
    if word.isdecimal() or word.startswith("-"):
        words = ["--at", word] if word.isdecimal() else [word]
        return f"faucet ctl needs a command, for example: {_line('ctl', 'status', *words, *rest)}"
    if word in COMMANDS or word in _names(app):
        meant = _line("ctl", *rest, "--help") if word == "help" else _meant(word, rest, app) or _line(word, *rest)
        return f"{word!r} is not a command of faucet ctl. Did you mean: {meant}"
    close = closest(word, names, LOOSELY)
    hint = f". Did you mean: {_ctl_line(close, rest, app)}" if close else ""
    return f"unknown command {word!r}{hint}\nCommands of faucet ctl: {', '.join(names)}."
