"""Remove a directory tree, whatever is in it, and nothing outside it.

Symbolic links are removed, never followed; mount points are left alone. Directories that are read-only are made
writable first. Subdirectories are moved up before they are emptied, so the depth does not matter and two descriptors
are enough. The reaper runs this code too: only the standard library.
"""

from __future__ import annotations

import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_MOVED = ".removed-"
"""Prefix of the names of directories that were moved up."""


def remove_tree(path: str) -> bool:
    """Remove the directory `path` with its content. Return whether it is gone. Never raises OSError."""
    try:
        root = _open(path, None)
    except FileNotFoundError:
        return True
    except OSError:  # a symbolic link, a file, somebody else's
        return False
    try:
        while _remove_entries(root, root):
            pass
    except OSError:
        return False
    finally:
        os.close(root)
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def _open(name: str, parent: int | None) -> int:
    """Open a directory, and make it one in which names can be removed. Raises OSError."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        # Not through a link: whatever could put one there now is dead, and this is looked at once more below.
        if os.path.islink(f"/proc/self/fd/{parent}/{name}" if parent is not None else name):
            raise
        os.chmod(name, 0o700, dir_fd=parent)
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    if os.fstat(descriptor).st_mode & 0o700 != 0o700:
        try:
            os.fchmod(descriptor, 0o700)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _remove_entries(directory: int, root: int) -> bool:
    """Remove what can be removed; move the directories among it up to the root. Whether another pass is worthwhile."""
    progress = False
    for name in os.listdir(directory):
        if _unlink(name, directory):
            progress = True
        elif directory == root:
            progress |= _remove_directory(name, root)
        else:
            _move_up(name, directory, root)
    return progress


def _unlink(name: str, directory: int) -> bool:
    """Remove an entry that is not a directory. Return whether it was removed."""
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        return False
    return True


def _remove_directory(name: str, root: int) -> bool:
    """Empty a directory of the root (subdirectories move up to the root), and remove it. Return whether it is gone."""
    try:
        if not name.startswith(_MOVED):
            name = _move_up(name, root, root)  # fails for a mount point
        descriptor = _open(name, root)
        try:
            if os.fstat(descriptor).st_dev != os.fstat(root).st_dev:
                return False
            _remove_entries(descriptor, root)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=root)
    except OSError:
        return False
    return True


def _move_up(name: str, directory: int, root: int) -> str:
    """Move a directory to the root, and return its new name. Raises OSError."""
    moved = _MOVED + os.urandom(8).hex()
    try:
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=root)
    except PermissionError:  # its own `..` cannot be changed while it is read-only
        os.close(_open(name, directory))
        os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=root)
    return moved
