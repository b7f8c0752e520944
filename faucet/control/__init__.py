"""The control socket: how a runtime is watched and steered from outside, and how it is found."""
