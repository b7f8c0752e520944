# Your API. A function below a comment with #* is an endpoint: https://www.rplumber.io
#
# Faucet runs this file in several R processes, each with a memory of its own, and gives each one request at a time.
# What all requests have to share belongs in a file or a database, not in a variable.

# What is written here, outside of functions, is done once in each process, before it gets requests:
# load packages, models and data here.
started <- Sys.time()

#* Whether this process is well. Faucet asks for it, with health-path = "/health" in faucet.toml
#* @get /health
#* @serializer unboxedJSON
function() {
  list(status = "ok", pid = Sys.getpid(), seconds = round(as.numeric(Sys.time() - started, units = "secs")))
}

#* A greeting. Try: curl 'http://localhost:3838/hello?name=you'
#* @param name Who is greeted
#* @get /hello
#* @serializer unboxedJSON
function(name = "world") {
  list(hello = name)
}

#* The mean of numbers. Try: curl -H 'Content-Type: application/json' -d '{"x": [1, 2, 3]}' http://localhost:3838/mean
#* @param x:[dbl] The numbers
#* @post /mean
#* @parser json
#* @serializer unboxedJSON
function(res, x = NULL) {
  if (!is.numeric(x) || length(x) == 0) {
    res$status <- 400
    return(list(error = "x has to be a list of numbers"))
  }
  list(mean = mean(x), n = length(x))
}
