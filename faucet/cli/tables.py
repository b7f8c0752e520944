"""Tables on standard output."""

from __future__ import annotations

import sys

from faucet.text import visible


def ascii_only() -> bool:
    """Return whether standard output cannot take what is not ASCII."""
    return (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")


def print_table(columns: list[tuple[str, bool]], rows: list[list[str]]) -> None:
    """Print `rows` below the titles in `columns`, which say whether they are aligned right; cut to the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, right in columns:
        table.add_column(title, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(visible(text)) for text in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # whoever reads this in a pipe wants all of it
    console.print(table)
