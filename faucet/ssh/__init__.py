"""Through a bastion: one SSH connection, its channels as transports, programs and sockets on the far side.

Only imported with --via-ssh: asyncssh takes a third of a second, and is an extra.
"""
