# How each worker is started: Faucet runs this file as it is, in this directory. Without it, it would serve plumber.R.

library(plumber)

# Each worker has a port of its own, in FAUCET_PORT. Without Faucet (Rscript entrypoint.R), the port is 8000; also if
# FAUCET_PORT is not a number: next to a service named faucet, Kubernetes sets it to tcp://10.96.0.7:80.
port <- suppressWarnings(as.integer(Sys.getenv("FAUCET_PORT")))
if (is.na(port)) port <- 8000L

pr("plumber.R") %>%
  pr_run(host = "127.0.0.1", port = port)
