"""The command palette (ctrl+p): a title and a sentence for each action of the monitor, for people who look for it.

It names what a person would type to find it: a footer has no room for that, and shows `+1`. Textual's own commands are
left out: its `Quit` asks no question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType

TEXTS = {
    "help": ("Help", "Show all keys"),
    "quit": ("Quit", "Leave the monitor: keep the service running, or stop it"),
    "restart": ("Restart worker", "Start a replacement, then end the selected worker (a pod is deleted)"),
    "rolling-restart": ("Rolling restart", "Replace all workers, one after the other, without a failed request"),
    "scale-up": ("Scale up", "Add a worker"),
    "scale-down": ("Scale down", "Remove a worker once its request is finished"),
    "hold": ("Hold or resume worker", "Send the selected worker no more requests, or send them again"),
    "kill": ("Kill worker", "Kill the selected worker now (SIGKILL); the request that it serves fails"),
    "drop": ("Drop connection", "Close the connection to the selected pod"),
    "retry": ("Retry pod", "Connect to the selected pod now, if it was unreachable"),
    "cancel": ("Cancel queued request", "Answer the selected request in the queue with 503"),
    "log": ("Log", "Show the log"),
    "requests": ("Requests", "Show the latest requests"),
    "queue": ("Queue", "Show the queued requests, and when each will start"),
    "events": ("Events", "Show what happened to the service and its workers"),
    "lanes": ("Lock lanes", "Show which request held which worker, and when"),
    "endpoints": ("Endpoints", "Show which endpoints take the workers' time"),
    "heat": ("Heat maps", "Show how long requests took and waited, over minutes or hours"),
    "what-if": ("What if", "Estimate the wait with one worker less, or one or two more"),
    "filter": ("Filter lines", "Show only lines that match a regular expression"),
    "follow": ("Follow", "Follow the newest line, or stay at the current one"),
    "only": ("Log of one worker", "Show the log of the selected worker only, or of all"),
    "source": ("Kind of log lines", "Switch between everything, output, requests and trouble"),
    "wrap": ("Wrap lines", "Wrap long lines, or cut them"),
    "mark": ("Mark", "Insert a line with the time; on lock lanes and heat maps, begin or end a span"),
    "clear": ("Clear", "Hide the lines until now"),
    "copy": ("Copy", "Copy the line under the cursor, or the command in the banner (OSC 52, also over ssh)"),
    "save": ("Save lines", "Save all lines of this view to a file in the current directory"),
    "sort": ("Sort", "Sort the workers, or the endpoints, by the next column"),
    "invert": ("Invert order", "Invert the order of the workers, or of the endpoints"),
    "pause": ("Pause or resume", "Stop the screen and go back in time with the arrows, or return to now"),
    "longer": ("Longer time span", "Show a longer time, of lock lanes, heat maps and all figures"),
    "shorter": ("Shorter time span", "Show a shorter time, of lock lanes, heat maps and all figures"),
    "next-error": ("Next error", "Go to the next failed request or error of R"),
    "previous-error": ("Previous error", "Go to the previous failed request or error of R"),
    "curl": ("Copy as curl", "Copy a command that sends the selected request again"),
    "back": ("Back 1 second", "Go back in time"),
    "on": ("Forward 1 second", "Go forward in time"),
    "minute-back": ("Back 1 minute", "Go back in time"),
    "minute-on": ("Forward 1 minute", "Go forward in time"),
    "oldest": ("Oldest moment", "Go back to the oldest moment that the monitor has seen"),
    "newest": ("Newest moment", "Return to the newest moment"),
    "notices": ("Problems", "Show all current problems, and commands that repair them"),
}
"""The title and the sentence of each action, by the id of its key (`--keys`)."""


def own_bindings(kind: type[App[Any]]) -> list[BindingType]:
    """Return the bindings of a kind of app and its base classes in Faucet, the most basic class first."""
    ours = [kind for kind in reversed(kind.__mro__) if kind.__module__.startswith("faucet.")]
    return [binding for kind in ours for binding in vars(kind).get("BINDINGS", ())]


def commands_of(app: App[Any]) -> Iterable[SystemCommand]:
    """Return a command for each key of `app` that is available now and has an id."""
    for binding in own_bindings(type(app)):
        if isinstance(binding, Binding) and binding.id and app.check_action(binding.action.partition("(")[0], ()):
            title, text = TEXTS[binding.id]
            action: Callable[[], Any] = partial(app.run_action, binding.action)
            yield SystemCommand(f"{title} ({binding.id})", text, action)
