"""Decide which files are code, whose change leads to a rolling restart with `--reload`.

An API that writes into its own directory must not restart itself, so this is a list of what is code, not of what is
not. Data (`.csv`, `.rds`, databases) and `.txt` are left out. So are static `.css` and `.js`: Plumber reads them from
disk for each request, and rendered reports write them. Templates count, since most are read once, at the start. With
--command, every file type counts in which programs are commonly written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path, PurePath

R_SOURCES = frozenset({".r", ".rmd", ".qmd", ".rnw", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".f", ".f90"})
"""Suffixes of source files: R, and the C, C++ and Fortran of packages."""

OTHER_SOURCES = frozenset(
    {".py", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".go", ".rs", ".rb", ".jl", ".php", ".pl",
     ".lua", ".java", ".kt", ".scala", ".ex", ".exs", ".cs", ".fs", ".swift", ".sh"}
)  # fmt: skip
"""Suffixes of source files of other languages, for programs that are not in R."""

SETTINGS = frozenset(
    {".yml", ".yaml", ".json", ".toml", ".sql", ".env", ".html", ".htm", ".mustache", ".tmpl", ".brew", ".jinja",
     ".j2", ".stan"}
)  # fmt: skip
"""What is read at the start: configuration, queries, templates, models in source form."""

NAMES = frozenset({".rprofile", ".renviron", ".env", "description", "namespace", "makevars", "makefile", "go.mod",
                   "gemfile", "requirements.txt", "renv.lock", "uv.lock", "poetry.lock", "cargo.lock"})  # fmt: skip
"""Files without a telling suffix, in lower case. Those that begin with a dot are the only hidden files that count."""

DIRECTORIES = frozenset({"node_modules", "__pycache__", "packrat", "venv", "site-packages"})
"""Directories that tools fill. Those that begin with a dot are left out, too."""

DATABASES = frozenset({".sqlite", ".sqlite3", ".db", ".db3", ".duckdb", ".rds", ".rdata", ".rda", ".qs", ".parquet",
                       ".feather", ".fst"})  # fmt: skip
"""Suffixes that count only if a pattern names them."""

_NEVER = re.compile(
    r".*~|.*\.(sw[a-p]|tmp|bak|orig|rej|pid)|#.*#|\.#.*|4913|.*-(wal|shm|journal)|.*\.wal"
    r"|faucet-(log|requests|queue|events)-\d{8}-\d{6}\.txt|faucet-\d{8}-\d{6}\.svg"
)
"""Files that editors and databases leave around, and what the monitor saves."""

_ROTATED = re.compile(r"(\.\d+|[.-]\d{8}(-\d+)?)?(\.(gz|xz|zst|bz2))?")


def is_source(name: str) -> bool:
    """Whether `name` was most likely written by a person; other files that count may be written by programs."""
    suffix = PurePath(name).suffix.lower()
    return suffix in R_SOURCES or suffix in OTHER_SOURCES


@dataclass(frozen=True)
class Watched:
    """Which files of one directory count. `include` and `exclude` are patterns; `log` is a file that never counts."""

    directory: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    log: Path | None = None
    any_language: bool = False
    named: frozenset[str] = frozenset()
    """Files that the command names, as paths from the directory: a program that is built there."""

    def name_of(self, path: Path) -> str:
        """Return `path` relative to the directory, with slashes."""
        for base in (self.directory, self.directory.resolve()):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
        return path.as_posix()

    def __call__(self, path: Path) -> bool:
        """Whether a change of the file `path` is worth a restart."""
        name = self.name_of(path)
        parts = PurePath(name).parts
        if not parts or _NEVER.fullmatch(parts[-1]) or is_log(path, self.log) or _matches(name, self.exclude):
            return False
        if self.leaves_out(parts[:-1]):
            return _matches(name, [pattern for pattern in self.include if "/" in pattern])
        suffix = PurePath(parts[-1].lower()).suffix
        if suffix in DATABASES:
            return _matches(name, [pattern for pattern in self.include if suffix in pattern.lower()])
        return self._is_code(parts[-1].lower(), suffix) or name in self.named or _matches(name, self.include)

    def _is_code(self, name: str, suffix: str) -> bool:
        if name in NAMES or name.startswith(".env."):
            return True
        if name.startswith("."):
            return False
        return suffix in R_SOURCES or suffix in SETTINGS or (self.any_language and suffix in OTHER_SOURCES)

    def leaves_out(self, directories: Iterable[str]) -> bool:
        """Whether files below one of these directories are left out, unless they are included."""
        names = list(directories)
        tools = any(name.startswith(".") or name.lower() in DIRECTORIES for name in names)
        return tools or any(pair in ("renv/library", "renv/staging", "renv/sandbox") for pair in _pairs(names))

    def leads_to_directory(self, name: str) -> bool:
        """Whether `name` is a directory, or a link to one."""
        return (self.directory / name).is_dir()

    def files(self, directory: Path) -> Iterator[Path]:
        """Return all files below `directory` that count, and all links to directories. Skip what cannot be read."""
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda program: program.name)
        except OSError:
            return
        for program in entries:
            path = Path(program.path)
            if not program.is_dir():
                if self(path):
                    yield path
            elif not self.leaves_out(PurePath(self.name_of(path)).parts):
                if program.is_symlink():
                    yield path
                else:
                    yield from self.files(path)


def _pairs(names: list[str]) -> list[str]:
    return [f"{first}/{second}" for first, second in pairwise(names)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches `name`: its last part, a directory above it, or the whole path."""
    parts = name.split("/")
    above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    for pattern in patterns:
        wanted = pattern.removeprefix("./").rstrip("/")
        if any(fnmatchcase(text, wanted) for text in (above if "/" in wanted else parts)):
            return True
    return False


def is_log(path: Path, log: Path | None) -> bool:
    """Whether `name` is the log, or a rotated one: `log`, `log.1`, `log-20261127.gz`."""
    if log is None or not path.name.startswith(log.name) or path.parent.resolve() != log.parent:
        return False
    return _ROTATED.fullmatch(path.name[len(log.name) :]) is not None
