# Starts a worker: Faucet runs this file in this directory. Without this file, Faucet serves plumber.R itself.

library(plumber)

# Faucet sets FAUCET_PORT to the port of the worker. Without Faucet (Rscript entrypoint.R), this is port 8000; also if
# FAUCET_PORT is not a number: for a service named faucet, Kubernetes sets it to tcp://10.96.0.7:80.
port <- suppressWarnings(as.integer(Sys.getenv("FAUCET_PORT")))
if (is.na(port)) port <- 8000L

pr("plumber.R") %>%
  pr_run(host = "127.0.0.1", port = port)
