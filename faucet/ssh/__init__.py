"""Access through a bastion: one SSH connection with its channels as transports, remote programs and Unix sockets.

Import it only when --via-ssh is given: asyncssh is an optional dependency and takes a third of a second to import.
It never asks the user anything but in `prompts`, and never skips a host key check. Imported by `pods` and above.
"""
