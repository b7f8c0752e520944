# The demo API. Each answer names the process that gave it, so that you can see how the workers share the work.

page <- paste(readLines("index.html"), collapse = "\n")
program <- paste0("R ", getRversion(), " with Plumber ", packageVersion("plumber"))
page <- sub("{{program}}", program, page, fixed = TRUE)

#* The page that a browser shows: what runs here, and what to try
#* @get /
#* @serializer html
function() {
  sub("{{pid}}", Sys.getpid(), page, fixed = TRUE)
}

#* The icon that browsers ask for by themselves
#* @get /favicon.ico
#* @serializer contentType list(type = "image/svg+xml")
function(res) {
  res$setHeader("Cache-Control", "max-age=86400")
  paste(readLines("favicon.svg"), collapse = "\n")
}

#* A quick answer
#* @get /hello
#* @serializer unboxedJSON
function(name = "world") {
  list(hello = name, pid = Sys.getpid())
}

#* A slow answer: R is busy all the while
#* @get /sleep
#* @serializer unboxedJSON
function(t = 1) {
  seconds <- min(as.numeric(t), 60)
  Sys.sleep(seconds)
  list(slept = seconds, pid = Sys.getpid())
}

#* A large answer of as many bytes
#* @get /large
#* @serializer text
function(bytes = 1e6) {
  strrep("x", min(as.numeric(bytes), 2e8))
}

#* The mean of numbers, sent as a form: x=1,2,3
#* @post /mean
#* @serializer unboxedJSON
function(x) {
  numbers <- as.numeric(strsplit(x, ",")[[1]])
  list(mean = mean(numbers), n = length(numbers), pid = Sys.getpid())
}

#* How many bytes were sent
#* @post /size
#* @parser octet
#* @serializer unboxedJSON
function(req) {
  list(bytes = length(req$bodyRaw), pid = Sys.getpid())
}

#* An error
#* @get /error
function() {
  stop("this endpoint fails on purpose")
}
