"""`faucet init`: writes a small API to start from, and a `faucet.toml` with the most common options.

It never overwrites a file. If one of the files exists already, none is written; if one cannot be written, those
written before are removed again, with the directories made for them.
"""

from __future__ import annotations

import contextlib
import os
from importlib.resources import files
from pathlib import Path

from faucet.machine import NO_CWD, has_cwd, user_name

NAMES = ("plumber.R", "entrypoint.R", "faucet.toml", "index.html")


class StarterError(Exception):
    """Nothing was written. The text is for the user."""


def write_starter(directory: Path) -> list[str]:
    """Write the files in NAMES into `directory`, created if necessary; return their paths. Raises StarterError."""
    made: list[Path] = []
    try:
        _refuse_unless_directory(directory)
        _make_directory(directory, made)
        _refuse_if_any(directory)
        for name in NAMES:
            _write(directory / name, made)
    except OSError as error:
        _undo(made)
        raise StarterError(_why_not(directory, error)) from error
    except BaseException:
        _undo(made)
        raise
    return [str(directory / name) for name in NAMES]


def _refuse_unless_directory(directory: Path) -> None:
    """Raise StarterError if `directory`, or one of its parents, exists and is not a directory. Raises OSError."""
    there = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), None)
    if there is None or there.is_dir():
        return
    if there.exists():
        what = "is a file, not a directory" if there.is_file() else "is not a directory"
    else:
        what = f"is a symbolic link to nothing ({there.readlink()})"
    raise StarterError(f"{there} {what}: nothing was written; name another directory")


def _make_directory(directory: Path, made: list[Path]) -> None:
    """Create `directory` and its parents. Raises OSError."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir()
        made.append(path)


def _refuse_if_any(directory: Path) -> None:
    """Raise StarterError if one of the files exists: a dangling link too, and Plumber.r, which Faucet also serves."""
    ours = [name.lower() for name in NAMES]
    there = [name for name in os.listdir(directory) if name.lower() in ours]  # noqa: PTH208 (names are enough)
    there.sort(key=lambda name: ours.index(name.lower()))
    if there:
        are = f"{', '.join(there)} {'is' if len(there) == 1 else 'are'}"
        raise StarterError(f"{are} in {directory} already: nothing was written; name another directory")


def _write(path: Path, made: list[Path]) -> None:
    """Write one file. Raises OSError: FileExistsError if it exists by now."""
    content = files("faucet.templates.starter").joinpath(path.name).read_bytes()
    with path.open("xb") as file:
        made.append(path)
        file.write(content)


def _undo(made: list[Path]) -> None:
    """Remove what was created, in reverse order; directories that contain other files are kept."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def _why_not(directory: Path, error: OSError) -> str:
    where = error.filename or directory
    if not directory.is_absolute() and not has_cwd():
        return f"{NO_CWD}; nothing was written"
    if isinstance(error, PermissionError):
        return f"{where}: permission denied for user {user_name()}; nothing was written; name another directory"
    return f"{where}: {error.strerror or error}; nothing was written"
