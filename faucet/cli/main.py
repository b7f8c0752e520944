"""The command line: parses, then calls the runtime, nothing else.

The options are made from the dataclasses in `faucet/settings` (by `parameters.py`), each with its FAUCET_… variable.
Precedence: flag, variable, file, default. What is not needed for the command that is meant is not imported, cyclopts
included: `commands.py` has the table, and `parser.py` imports what it names.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from faucet.cli.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE
from faucet.cli.stdio import OutputError, finish, occupy
from faucet.text import print_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    occupy()
    if os.getpid() == 1:
        # The kernel keeps signals from the first process of a container that it has no handler for.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return finish(_main(list(sys.argv[1:] if arguments is None else arguments)))
    except OutputError as error:
        return finish(0, error)


def _main(words: list[str]) -> int:
    _check_variables()
    if problem := _of_another_program(words):
        print_error(problem)
        return EXIT_USAGE
    if text := _page(words):
        print(text)
        return 0
    return _run(words)


def _check_variables() -> None:
    """Remark on variables that mean nothing, and drop those of Kubernetes. Most environments have none."""
    if any(name.startswith("FAUCET_") for name in os.environ):
        from faucet.cli.variables import drop_service_links, unknown_variables

        drop_service_links(os.environ)
        for remark in unknown_variables(os.environ):
            print_error(remark)


def _of_another_program(words: Sequence[str]) -> str:
    """Return the message for a command line that begins with another program's word; empty if it does not."""
    from faucet.cli.synonyms import is_foreign

    if not words or not is_foreign(words[0]):
        return ""
    from faucet.cli.parser import whole_app
    from faucet.cli.words import explain

    return explain(words[0], words[1:], whole_app())


def _page(words: Sequence[str]) -> str:
    """Return the short help page, or the versions, if `words` ask for it."""
    if words == ["--version"]:
        from faucet.cli.versions import versions

        return versions()
    if not {"--help", "-h"} & set(words):
        return ""
    from faucet.cli.help import SHORT, is_short

    return SHORT if is_short(words) else ""


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    try:
        return _carry_out(words)
    except CycloptsError as error:
        from faucet.cli.misuse import explain
        from faucet.cli.parser import whole_app

        problem, code = explain(error, words, whole_app())
        print_error(problem)
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # e.g. at the question for a passphrase


def _carry_out(words: list[str]) -> int:
    """The exit code. Raises CycloptsError if the command line is wrong."""
    from cyclopts import CycloptsError

    from faucet.cli.parser import app_for

    try:
        result = app_for(words)(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        if words[:1] != ["doctor"]:
            raise
        from faucet.cli.doctor import despite

        result = despite(error, words)
    return result if isinstance(result, int) else 0
