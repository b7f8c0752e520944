"""Files to start from: `faucet example kubernetes` prints one."""
