# The API of the screenshots: what takes how long, what fails, and what ends its process.

#* @get /sales/<id>
function(id) list(id = id, amount = 17)

#* @get /predict
function(x = 0.2) {
  Sys.sleep(as.numeric(x))
  list(forecast = 42)
}

#* @get /report.pdf
function(pages = 3) {
  Sys.sleep(as.numeric(pages))
  list(pages = pages)
}

#* @post /score
function(req) {
  Sys.sleep(0.05)
  if (runif(1) < 0.05) message("Warning: 3 rows without a price")
  list(n = length(req$postBody))
}

#* @get /stock
function() stop("database is locked")

#* @get /train
function() {
  Sys.sleep(0.8)
  tools::pskill(Sys.getpid(), 11)
}
