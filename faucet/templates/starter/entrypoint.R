# How each worker is started: Faucet runs this file as it is, in this directory. Without it, it would serve plumber.R.
#
# The port has to be the one in FAUCET_PORT, since each worker has its own. The 8000 is for you, when you try this
# without Faucet: Rscript entrypoint.R

library(plumber)

pr("plumber.R") %>%
  pr_run(host = "127.0.0.1", port = as.integer(Sys.getenv("FAUCET_PORT", "8000")))
