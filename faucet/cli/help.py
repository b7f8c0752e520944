"""What `--help` shows besides the options: the short page of `faucet --help`, and the examples of each command.

`faucet --help` has to fit 80 columns and 24 lines, so it names ten options; `--help-all` has every one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from faucet.cli.commands import ALIASES, COMMANDS
from faucet.cli.exit_codes import CTL_EXIT_CODES, EXIT_CODES

if TYPE_CHECKING:
    from cyclopts import App

HELP_FLAGS = ("--help", "-h", "--help-all")

SHORT = """\
Usage: faucet [DIR] [OPTIONS]   or   faucet COMMAND [OPTIONS]
Serve an R Plumber API with several workers, one request at a time each.

Commands (faucet COMMAND --help has examples):
  demo            serve a small API that comes with Faucet
  k8s             serve the pods of a Kubernetes service in the same way
  attach, replay  open the monitor for a running Faucet, or for a recording
  ctl             control a running Faucet: status, restart, logs, stop, ...
  doctor          check what DIR needs, and say what to do
  init            write a small API to start from
  top, config, example, completion

Options (faucet --help-all has all of them):
  -w, --workers N           number of workers, or 2..8: as needed  [CPUs]
  --host ADDRESS            address to listen on; :8080: all  [127.0.0.1:3838]
  --headless                without the monitor
  --reload                  rolling restart when code changes
  --admin ADDRESS           serve health and metrics pages there
  --queue-limit N           requests that may wait; any more get 503  [1024]
  --queue-timeout TIME      how long a request may wait; then 503  [60s]
  --request-timeout TIME    how long R may take; then 504, and a restart  [5m]
  --max-rss SIZE            replace a worker that has grown to this size
  --log-file FILE           write the log to this file"""

SERVING = ("local", "demo", "k8s")
"""Commands that serve, and so end with these exit codes."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "local": (
        ("faucet", "this directory, with the monitor"),
        ("faucet my-api -w 4 --host :8080", "four workers, on all interfaces"),
        ("faucet --headless --admin 127.0.0.1:3839", "with health and metrics pages"),
        ("faucet --reload", "a rolling restart when code changes"),
        ("faucet --command 'python3 app.py {port}'", "any program that serves HTTP"),
    ),
    "demo": (
        ("faucet demo", "a worker per CPU, with the monitor"),
        ("faucet demo -w 2 --headless", "two workers, without the monitor"),
    ),
    "k8s": (
        ("faucet k8s --service-url http://plumber:8000", "inside the cluster"),
        ("faucet k8s --via-ssh ops@bastion", "from outside; choose from a list"),
    ),
    "attach": (
        ("faucet attach", "the one that runs here"),
        ("faucet attach 8080", "the one on port 8080, if several run"),
        ("faucet attach --record incident.jsonl", "and keep what it shows"),
        ("faucet attach --read-only --via-ssh ops@server", "one on a server, without changing it"),
        ("faucet attach --web 127.0.0.1:8081", "in a browser"),
        ("faucet attach --once --svg incident.svg", "a picture for a report"),
    ),
    "replay": (
        ("faucet replay incident.jsonl", "what faucet attach --record has kept"),
        ("faucet replay /var/lib/faucet/box --begin 03:00", "the black box, from three in the morning"),
    ),
    "top": (
        ("faucet top", "all that run here"),
        ("faucet top --via-ssh ops@one,ops@two", "and on two servers"),
        ("faucet top --json", "for programs"),
    ),
    "config": (
        ("faucet config", "the options of this directory"),
        ("faucet config my-api --workers 4", "what that command line would lead to"),
    ),
    "doctor": (
        ("faucet doctor my-api", "what would keep ./my-api from being served"),
        ("faucet doctor my-api -w 8 --host :8080", "with the options that it would have"),
        ("faucet doctor k8s --service-url http://plumber:8000", "whether its pods are found"),
        ("faucet doctor --json", "for programs"),
    ),
    "doctor local": (
        ("faucet doctor local my-api -w 4", "the same as: faucet doctor my-api -w 4"),
    ),
    "doctor k8s": (
        ("faucet doctor k8s --service-url http://plumber:8000", "a service in the cluster"),
    ),
    "init": (
        ("faucet init my-api", "then: faucet my-api"),
    ),
    "example": (
        ("faucet example", "list them"),
        ("faucet example systemd > faucet.service", "a unit for systemd"),
    ),
    "completion": (
        ('eval "$(faucet completion bash)"', "in ~/.bashrc"),
        ('eval "$(faucet completion zsh)"', "in ~/.zshrc"),
        ("faucet completion fish | source", "in ~/.config/fish/config.fish"),
    ),
    "ctl status": (
        ("faucet ctl status", "the workers, their locks and the queue"),
        ("faucet ctl status --at 8080 --json", "of the one on port 8080, as JSON"),
        ("faucet ctl status --via-ssh ops@server", "of one on a server"),
    ),
    "ctl workers": (
        ("faucet ctl workers --json", "a JSON object for each worker"),
    ),
    "ctl endpoints": (
        ("faucet ctl endpoints", "which endpoints take the workers' time"),
        ("faucet ctl endpoints --json", "the same for programs"),
    ),
    "ctl queue": (
        ("faucet ctl queue", "who waits, and how long it will take"),
        ("faucet ctl queue --json", "the same for programs"),
    ),
    "ctl cancel": (
        ("faucet ctl cancel 17", "503 for the queued request 17"),
    ),
    "ctl requests": (
        ("faucet ctl requests --last 100", "the latest hundred"),
    ),
    "ctl logs": (
        ("faucet ctl logs --follow", "the log, as it is written"),
        ("faucet ctl logs 2 --last 20", "the latest twenty lines of worker 2"),
    ),
    "ctl health": (
        ("faucet ctl health || systemctl restart faucet", "act when no worker is ready"),
    ),
    "ctl handover": (
        ("faucet ctl handover --active", "the active gives way, whichever Faucet this is"),
    ),
    "ctl restart": (
        ("faucet ctl restart 3", "worker 3"),
        ("faucet ctl restart all", "all of them at once"),
    ),
    "ctl rolling-restart": (
        ("faucet ctl rolling-restart", "wait until it is done"),
        ("faucet ctl rolling-restart --no-wait", "start it, and return"),
    ),
    "ctl scale": (
        ("faucet ctl scale 6", "six workers"),
        ("faucet ctl scale +1", "one more"),
    ),
    "ctl hold": (
        ("faucet ctl hold 2", "no more requests for worker 2"),
    ),
    "ctl resume": (
        ("faucet ctl resume 2", "requests for worker 2 again"),
    ),
    "ctl drop": (
        ("faucet ctl drop plumber-7d9c5b-x2x8k", "cut the connection to that pod"),
    ),
    "ctl retry": (
        ("faucet ctl retry plumber-7d9c5b-x2x8k", "connect to that pod now"),
    ),
    "ctl kill": (
        ("faucet ctl kill 2", "worker 2, and its request"),
        ("faucet ctl kill 2-", "the one that worker 2 is replacing"),
    ),
    "ctl stop": (
        ("faucet ctl stop", "let requests in flight finish"),
        ("faucet ctl stop --now", "do not wait for them"),
    ),
}  # fmt: skip
"""Command lines by command, each with what it does."""


def add_help(app: App) -> None:
    """Give each command of `app` its examples."""
    app.help_flags = HELP_FLAGS
    app.help_epilogue = _epilogue("local", EXIT_CODES)
    if "ctl" in app:
        app["ctl"].help_flags = HELP_FLAGS
        several = _examples("ctl status", "ctl logs", "ctl restart", "ctl stop")
        app["ctl"].help_epilogue = f"{several}\n\n{CTL_EXIT_CODES}"
    for chain in EXAMPLES:
        first, _, second = chain.partition(" ")
        if first not in app:
            continue
        command = app[first][second] if second else app[first]
        command.help_flags = HELP_FLAGS
        command.help_epilogue = _epilogue(chain, CTL_EXIT_CODES if second else EXIT_CODES if first in SERVING else "")


def _epilogue(chain: str, codes: str) -> str:
    return f"{_examples(chain)}\n\n{codes}" if codes else _examples(chain)


def _examples(*chains: str) -> str:
    """Each command line and what it does: side by side, if that fits 80 columns."""
    pairs = [pair for chain in chains for pair in EXAMPLES[chain]]
    wide = max(len(line) for line, _ in pairs) + 2
    if wide + max(len(text) for _, text in pairs) > 77:
        return "Examples:\n" + "\n".join(f"  {line}\n      {text}" for line, text in pairs)
    return "Examples:\n" + "\n".join(f"  {line:{wide}}{text}" for line, text in pairs)


def is_short(words: Sequence[str]) -> bool:
    """Return whether `words` ask for the short page: --help, and no command of its own."""
    options = words[: words.index("--")] if "--" in words else words
    return bool({"--help", "-h"} & set(options)) and (words[0].startswith("-") or words[0] not in (*COMMANDS, *ALIASES))
