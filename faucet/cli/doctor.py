"""`faucet doctor`: the command line of a service with `doctor` in front; it is examined, not served.

`faucet doctor my-api -w 4` takes what `faucet my-api -w 4` takes, `faucet doctor k8s …` what `faucet k8s …` takes.
Wrong flags are wrong usage, as everywhere. A wrong variable or file is what doctor is for: it is reported, and the rest
is examined with the flags alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from cyclopts import App, CycloptsError, Parameter

from faucet.cli.exit_codes import EXIT_FAILED
from faucet.cli.misuse import option_problem
from faucet.cli.parameters import with_options
from faucet.cli.toml import sources
from faucet.settings import K8sSettings, LocalSettings

TrustConfig = Annotated[
    bool,
    Parameter(help="Start what files of another user name: R in faucet.toml, .Rprofile.", negative=()),
]
Json = Annotated[bool, Parameter(("--json", "-j"), help="JSON for programs.", negative=())]


class _Problem(NamedTuple):
    """What is wrong with a variable or `faucet.toml`, and what to do."""

    text: str
    advice: str


def _make_app(problem: _Problem | None = None) -> App:
    """Return the command. With a `problem`, it reads neither variables nor files, and reports the problem instead."""

    def local(settings: LocalSettings, *, trust_config: TrustConfig = False, as_json: Json = False) -> int:
        """Check a directory and this machine, and say what to do. Exit code 1: it would not serve.

        Flags, variables and faucet.toml count as they would for serving. Nothing is changed or left running.
        """
        return _look(settings, as_json, problem, trust_config)

    def k8s(settings: K8sSettings, *, as_json: Json = False) -> int:
        """Check all that serving the pods of a service needs. Exit code 1: it would not serve.

        The name of the service is resolved. No connection to a pod or a bastion is opened, and nothing is changed.
        """
        return _look(settings, as_json, problem)

    only = problem is not None
    app = App(name="doctor", help=local.__doc__, help_format="plaintext", version_flags=())
    app.default(with_options(local, LocalSettings, flags_only=only))
    app.command(with_options(local, LocalSettings, flags_only=only), name="local")
    app.command(with_options(k8s, K8sSettings, flags_only=only), name="k8s")
    return app


def _look(
    settings: LocalSettings | K8sSettings, as_json: bool, problem: _Problem | None, trust_config: bool = False
) -> int:
    from faucet.doctor import Finding, examine, report
    from faucet.doctor.options import in_force

    if problem is None:
        return report(examine(settings, in_force(settings, sources), sources, trust_config), as_json)
    broken = Finding("broken", "options", problem.text, problem.advice)
    return report(examine(settings, broken, {}, trust_config), as_json)


app = _make_app()


def despite(error: CycloptsError, words: Sequence[str]) -> int:
    """Examine with the flags in `words` alone, and report `error`, which a variable or a file has caused.

    Return the exit code. Raises CycloptsError if the flags are wrong themselves.
    """
    text = option_problem(error, words) or str(error).strip()
    in_the_way = getattr(error, "code", 0) == EXIT_FAILED  # then the text says what to do
    problem = _Problem(text, "" if in_the_way else "correct it; `faucet --help-all` has all options")
    with_flags_only = App(name="faucet")
    with_flags_only.command(_make_app(problem))
    return int(with_flags_only(list(words), exit_on_error=False, print_error=False, result_action="return_value"))
