# The demo API. Each answer names the process that gave it, so that one can see the workers share the work.

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
