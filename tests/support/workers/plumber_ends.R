# An API that leaves processes behind, and tells when it ends. Served as plumber.R.
kept <- list()
keep <- function(process) {
  kept[[length(kept) + 1]] <<- process
  process$get_pid()
}
reg.finalizer(globalenv(), function(e) cat("finalizer ran\n"), onexit = TRUE)

#* @plumber
function(pr) plumber::pr_hook(pr, "exit", function() cat("exit hook ran\n"))

#* @get /
#* @serializer text
function() "hello"

#* @get /tmp
#* @serializer text
function() tempdir()

#* @get /callr
#* @serializer text
function() keep(callr::r_bg(function() Sys.sleep(600), supervise = FALSE, cleanup = FALSE))

#* @get /processx
#* @serializer text
function() keep(processx::process$new("sleep", "600", cleanup = FALSE))

#* @get /sleep
function(t = 60) {
  on.exit(cat("on.exit ran\n"))
  cat("in hand\n")
  Sys.sleep(as.numeric(t))
}

#* @get /caught
function() {
  cat("in hand\n")
  tryCatch(Sys.sleep(60), interrupt = function(i) "caught")
}

#* @get /c
function() {
  x <- matrix(runif(9e6), 3000)
  cat("in hand\n")
  repeat svd(x)
}
