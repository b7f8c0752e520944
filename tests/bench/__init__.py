"""`just bench`: Faucet and its peers, measured in the same minutes on the same machine.

Ratios are printed, nothing fails: a machine that does other work beside gives other numbers.
"""
