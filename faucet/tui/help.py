"""The keys, for people."""

from __future__ import annotations

from faucet.status.columns import ASCII_GLYPHS, GLYPHS

_HELP = """\
Workers
  ↑ ↓  click        select a worker            ⏎  double click   everything about it
  r                 restart: another is ready before it ends
  R                 rolling restart: all of them, one after the other
  h                 hold: no more requests, the process stays; again: resume
  K                 kill, with what it has in hand (asks first)
  + -               one worker more, one less (it finishes what it has)
  d  t              pods: drop the connection; try one now that was put aside (and r deletes one: asks first)
  s  click header   sort by the next column, by this column

Log, requests, queue, events
  1 2 3 4  click    which of them              tab            to the lines, and back to the workers
  /                 filter by a regular expression            esc   all lines again
  o                 the log of the selected worker only       v     everything, output, requests, trouble
  f                 follow the newest line, or stay here      end   to the newest
  w                 wrap long lines            ← →            move sideways
  m                 put in a mark              c              clear
  y                 copy the line (OSC 52)     S              save all lines to a file
  ⏎                 everything about a request

All
  space             pause the picture          ctrl+p         all commands, and the themes
  q  ctrl+c         detach, or stop; ctrl+c again goes on to the next answer       ?   this

States
  {states}

LOCK is how long the request has held the worker's lock. It is released when the whole answer was read, not when
the client leaves: R is still at work.
"""


def help_text(plain: bool) -> str:
    """The keys, and what the states look like here."""
    glyphs = ASCII_GLYPHS if plain else GLYPHS
    text = _HELP.format(states="    ".join(f"{glyph} {state}" for state, glyph in glyphs.items()))
    arrows = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⏎ ": "enter"}
    for arrow, name in arrows.items() if plain else ():
        text = text.replace(arrow, name)
    return text
