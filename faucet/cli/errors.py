"""Command lines that cannot be carried out, as exceptions. `misuse.py` makes messages of them."""

from __future__ import annotations

from cyclopts import CycloptsError

from faucet.cli.exit_codes import EXIT_USAGE


class Misuse(CycloptsError):
    """A command line that cannot be carried out. The text is for the user."""

    def __init__(self, text: str, code: int = EXIT_USAGE) -> None:
        super().__init__(msg=text)
        self.text = text
        self.code = code

    def __str__(self) -> str:
        return self.text


class UnknownWord(Misuse):
    """A word that stands where a command or a directory is expected, and is neither."""

    def __init__(self, word: str, is_path: bool = False) -> None:
        """`is_path`: it is the value of --dir, so no command can have been meant."""
        super().__init__(f"{word!r} is neither a command nor a directory")
        self.word = word
        self.is_path = is_path
