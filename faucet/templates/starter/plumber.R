# Your API. A function below a comment with #* is an endpoint: https://www.rplumber.io
#
# Faucet runs this file in several R processes, which share no memory, and sends each process one request at a time.
# Keep data that requests share in a file or a database, not in a variable.

# Code outside of functions runs once in each process, before the first request. Load packages, models and data here.
started <- Sys.time()

#* The start page: index.html, with the process that has answered
#* @get /
#* @serializer html
function() {
  page <- paste(readLines("index.html"), collapse = "\n")
  program <- paste0("R ", getRversion(), " with Plumber ", packageVersion("plumber"))
  sub("{{program}}", program, sub("{{pid}}", Sys.getpid(), page, fixed = TRUE), fixed = TRUE)
}

#* The icon that browsers request
#* @get /favicon.ico
#* @serializer contentType list(type = "image/svg+xml")
function() {
  '<svg xmlns="http://www.w3.org/2000/svg"><circle cx="50%" cy="50%" r="45%" fill="#2584e0"/></svg>'
}

#* Health of this process. Faucet checks it if faucet.toml has health-path = "/health"
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
function(res, x) {
  if (missing(x) || !is.numeric(x) || length(x) == 0) {
    res$status <- 400
    return(list(error = "x must be a list of numbers"))
  }
  list(mean = mean(x), n = length(x))
}
