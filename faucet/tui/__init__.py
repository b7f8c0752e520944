"""The monitor: a picture of a runtime in the terminal, and keys to steer it. Knows the control socket, nothing else."""
