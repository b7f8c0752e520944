"""The text of the monitor's help screen."""

from __future__ import annotations

from faucet.status.columns import ASCII_GLYPHS, GLYPHS
from faucet.tui.lanes import ASCII_FULL, FULL

_HELP = """\
Workers
  ↑ ↓  click        select a worker              ⏎  double click   show its details
  r                 restart: the replacement is ready before the old process ends (asks first)
  R                 rolling restart: all workers, one after the other (asks first)
  h                 hold (no more requests, the process stays), or resume
  K                 kill; the request in progress fails (asks first)
  + -               add a worker, or remove one (asks first; it finishes its request)
  d  t  r           pods: drop the connection (asks first); retry now; delete the pod (asks first)
  s  click header   sort by the next column, or by this one; I  click again    invert the order

Log, requests, queue, events, lanes, endpoints, heat maps
  1 … 7  click      switch the view              tab     focus the lines, or the workers
  /                 filter by a regular expression       esc   clear the filter
  o                 log of the selected worker only      v     everything, output, requests, trouble
  f                 follow the newest line, or stay      end   go to the newest line
  w                 wrap long lines              ← →     scroll sideways
  m                 insert a mark                c       clear
  y                 copy the line (OSC 52)       S       save all lines to a file
                    in the workers: copy the command in the banner, if there is one
  ⏎                 details of a request or line
  n  p              next or previous error       C       copy a request as a curl command

Queue (3): a cell for each request, as high as the share of --queue-timeout that it has waited
  x                 end the selected request; its client gets 503 (asks first)
  START is an estimate from what requests took lately; 503: no worker will be free in time

Lock lanes (5; beside the workers from 160 columns)
  ← → ↑ ↓  click    select a request             ⏎       its details
  [ ]               a longer or shorter time, of all figures too         end   select nothing
  m ... m  drag     limit log, requests and events to a span         esc     all of them again
  Height is how much of the time the lock was held; {full} one request, {slow} past --slow, {left} its client
  has left; {unknown} not known; {start} a process came into service, {trouble} a warning or an error about it.

Endpoints (6): which take the workers' time
  s                 sort by the next column      ⏎       only its requests, esc for all of them again

Heat maps (7): how many requests took how long, and waited how long, and when
  ← →  click        what was then                ⏎       go there, if the monitor has seen it
  [ ]               from 5 minutes to 24 hours   m drag  only the requests of that span
  W                 what if: the same requests with one worker less, or one or two more

Time travel
  space             pause, and then:             < >     a minute back or forward
  ← →  , .          a second back or forward (, and . on lanes and heat maps, where arrows select)
  home end  click   the oldest, the newest or any moment of the last 15 minutes         space   resume

General
  N  click banner   all that is known of what is wrong; y copies the command that repairs it
  space             pause the screen             ctrl+p  all commands and themes
  q  ctrl+c         detach or stop; ctrl+c again selects the next answer
  ?                 this help

States
  {states}

LOCK is how long the request has held the worker's lock. The worker is free again when it has
answered completely, not when the client disconnects: R cannot be interrupted.
All figures are of one window, the last minute or what [ and ] choose; it stands before rps. Quantiles
are exact. Sparklines show the last minute.
"""


def help_text(plain: bool) -> str:
    """Return the help text: the keys, and the states with their glyphs."""
    glyphs = ASCII_GLYPHS if plain else GLYPHS
    shapes = ASCII_FULL if plain else FULL
    text = _HELP.format(
        states="    ".join(f"{glyph} {state}" for state, glyph in glyphs.items()),
        full=shapes[""], slow=shapes["slow"], left=shapes["left"], unknown="?" if plain else "·",
        start="v" if plain else "▾", trouble="x" if plain else "✖",
    )  # fmt: skip
    arrows = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⏎ ": "enter", "…": "to"}
    for arrow, name in arrows.items() if plain else ():
        text = text.replace(arrow, name)
    return text
