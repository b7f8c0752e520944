"""Find what in a directory is almost an API, and the command that would serve it.

`near_misses` only reads files. Each finding ends with a command to type.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faucet.workers.commandline import quote
from faucet.workers.layouts import NAMES, Kind, Layout, find_layout, text_of

ANNOTATION = re.compile(
    r"^\s*#[*']\s*@(?:get|post|put|delete|head|options|patch|any|use|filter|plumber|assets|websocket)\b",
    re.MULTILINE | re.IGNORECASE,
)
"""`#* @get /hello`, or with #' as roxygen writes it."""

_COMMENT = re.compile(r"#.*")
_RUNS = re.compile(r"\b(?:pr_run|api_run)\s*\(|\$(?:run|ignite)\s*\(")
_OF_PLUMBER = re.compile(r"\b(?:plumber2?|plumb|pr_run|api_run|fiery)\b")
_SHINY = re.compile(r"\bshinyApp\s*\(|\b(?:library|require)\s*\(\s*[\"']?shiny\b|\bshiny::")
_READS_PORT = re.compile(r"""["'](?:FAUCET_PORT|PORT|PLUMBER_PORT|PLUMBER2_PORT)["']""")
_NAMES_PORT = re.compile(r"\bport\s*=")

USE_THE_PORT = 'Let it read its port: port = as.integer(Sys.getenv("FAUCET_PORT"))'

NO_SHINY = "Faucet serves Plumber APIs; Shiny Server, ShinyProxy and Posit Connect serve Shiny apps"

MOST_FILES = 200
"""Most files that are read, so that serving a home directory by mistake does not take long."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A file that was found, described in a sentence, and the commands that would serve it."""

    found: str
    commands: tuple[str, ...] = ()


def near_misses(directory: Path) -> list[NearMiss]:
    """Return what is nearly an API in `directory`, the likeliest first."""
    return [
        *_not_files(directory),
        *_r_files(directory),
        *_shiny(directory),
        *_in_package(directory),
        *_in_subdirectories(directory),
    ]


def file_instead(path: Path) -> NearMiss:
    """Return what to do about a file that was given instead of a directory."""
    directory, found = path.parent, f"{path} is not a directory, and --dir takes the directory of an API"
    kind = next((kind for kind, pattern in NAMES if pattern.fullmatch(path.name)), None)
    if kind is not None:
        layout = _layout(directory)
        loses = kind is Kind.PLUMBER and layout is not None and layout.file != path.name
        return NearMiss(found, (_serve(directory, _plumb(path.name) if loses else ""),))
    if path.suffix.lower() == ".r" and is_shiny(path):
        return NearMiss(f"{path} is a Shiny app. {NO_SHINY}")
    for miss in _r_file(directory, path.name) if path.suffix.lower() == ".r" else ():
        return NearMiss(f"{found}. {miss.found}", miss.commands)
    return NearMiss(found)


def _plumb(name: str) -> str:
    """Return the command that serves a file with Plumber's annotations, whatever its name."""
    code = f'plumber::pr_run(plumber::pr("{name}"), port = {{port}})'
    return f"Rscript -e {shlex.quote(code)}"


def _serve(directory: Path, command: str = "") -> str:
    words = ["faucet"] if directory.resolve() == Path.cwd() else ["faucet", "--dir", _shown(directory)]
    return " ".join(map(quote, [*words, "--command", command] if command else words))


def _shown(path: Path) -> str:
    """Return a path as the user would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return []


def _layout(directory: Path) -> Layout | None:
    try:
        return find_layout(directory) if directory.is_dir() else None
    except OSError:
        return None


def _not_files(directory: Path) -> Iterator[NearMiss]:
    """Return what has the right name but is a broken link, or a directory."""
    for name in _names(directory):
        path = directory / name
        if any(pattern.fullmatch(name) for _, pattern in NAMES) and not path.is_file():
            if path.is_symlink() and not path.exists():
                yield NearMiss(f"{name} is a symbolic link to {path.readlink()}, which does not exist")
            else:
                yield NearMiss(f"{name} is not a file")


def _r_files(directory: Path) -> Iterator[NearMiss]:
    names = [name for name in _names(directory) if name.lower().endswith(".r")][:MOST_FILES]
    found = [miss for name in names for miss in _r_file(directory, name)]
    yield from sorted(found, key=lambda miss: "starts a server" not in miss.found)


def _r_file(directory: Path, name: str) -> Iterator[NearMiss]:
    text = text_of(directory / name)
    code = _COMMENT.sub("", text)
    if _RUNS.search(code) and _OF_PLUMBER.search(code):
        yield _runs(directory, name, code)
    elif ANNOTATION.search(text):
        commands = (_rename(directory, name, "plumber.R"), _serve(directory, _plumb(name)))
        yield NearMiss(f"{name} has Plumber's annotations. Rename it, or name it", commands)


def _runs(directory: Path, name: str, code: str) -> NearMiss:
    """Return what to do about a script that starts a server, like entrypoint.R, under another name."""
    rename, serve = _rename(directory, name, "entrypoint.R"), _serve(directory, f"Rscript {shlex.quote(name)}")
    if _READS_PORT.search(code):
        return NearMiss(f"{name} starts a server. Name it, or rename it", (serve, rename))
    if _NAMES_PORT.search(code):
        return NearMiss(f"{name} starts a server. {USE_THE_PORT}. Then name it, or rename it", (serve, rename))
    # A bare pr_run(): entrypoint.R gets its port with any version of plumber, Rscript run.R from 1.3 on.
    return NearMiss(f"{name} starts a server. Rename it", (rename,))


def _rename(directory: Path, name: str, to: str) -> str:
    return shlex.join(["mv", _shown(directory / name), _shown(directory / to)])


def only_annotations(path: Path) -> bool:
    """Return whether a file is what plumber.R would be: endpoints, and nothing that starts a server."""
    text = text_of(path)
    return bool(ANNOTATION.search(text)) and not _RUNS.search(_COMMENT.sub("", text))


def is_shiny(path: Path) -> bool:
    """Return whether a file is a Shiny app, and no API besides."""
    text = text_of(path)
    return bool(_SHINY.search(_COMMENT.sub("", text))) and not ANNOTATION.search(text)


def _shiny(directory: Path) -> Iterator[NearMiss]:
    """Return Shiny apps, which cannot be served: each user keeps a WebSocket open for as long as the app is open."""
    names = {name.lower(): name for name in _names(directory)}
    app = names.get("app.r")
    if app is not None:
        if not is_shiny(directory / app):
            return
        what = f"{app} is a Shiny app"
    elif {"ui.r", "server.r"} <= names.keys():
        what = f"{names['ui.r']} and {names['server.r']} are a Shiny app"
    else:
        return
    yield NearMiss(f"{what}. {NO_SHINY}")


def _in_package(directory: Path) -> Iterator[NearMiss]:
    """Return the APIs in the sources of an R package."""
    match = re.search(r"^Package:\s*(\S+)", text_of(directory / "DESCRIPTION"), re.MULTILINE)
    for name in _names(directory / "inst" / "plumber"):
        api = directory / "inst" / "plumber" / name
        if _layout(api) is not None:
            installed = (f"faucet --api {match[1]}::{name}",) if match else ()
            remark = ". Once the package is installed, the second command serves the installed one" if match else ""
            yield NearMiss(f"inst/plumber/{name} has an API{remark}", (_serve(api), *installed))


def _in_subdirectories(directory: Path) -> Iterator[NearMiss]:
    for name in _names(directory)[:MOST_FILES]:
        path = directory / name
        if name.startswith(".") or name in ("renv", "packrat", "inst"):
            continue
        if layout := _layout(path):
            yield NearMiss(f"{name} has {layout.file}", (_serve(path),))
