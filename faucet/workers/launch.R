# Starts an API in R, for Faucet: Rscript launch.R script entrypoint.R | plumber plumber.R | server _server.yml ENGINE
# | package PACKAGE NAME. The port is in FAUCET_PORT.
#
# `script` runs a file as `Rscript FILE` would and then, if the file's value is a router instead of a server that has
# run, runs that. The file must not notice: its expressions are evaluated at top level, with no function on the stack
# (`sys.calls()` is NULL, tracebacks begin with the file's own calls, `globalCallingHandlers()` works), its values and
# warnings are printed when and as Rscript prints them, and `commandArgs()` are those of `Rscript FILE`. So everything
# of ours lives behind the search path, in an environment that R itself keeps for Autoloads, and nothing in the global
# one, which `rm(list = ls(all.names = TRUE))` empties.

assign(".faucet", new.env(parent = baseenv()), envir = .AutoloadEnv)
assign(".faucet.value", NULL, envir = .AutoloadEnv)

local(envir = .faucet, {
  arguments <- commandArgs(trailingOnly = TRUE)
  what <- arguments[[1]]
  file <- arguments[[2]]
  host <- "127.0.0.1"
  port <- as.integer(Sys.getenv("FAUCET_PORT"))
  # `pr_run()` without a port uses this one: the option with any plumber, PLUMBER_PORT from 1.3 on.
  options(plumber.port = port)

  # What Rscript would have been told.
  hide_ourselves <- function() {
    words <- commandArgs()
    words <- words[seq_len(match("--args", words) - 1L)]
    if (what != "package") words[startsWith(words, "--file=")] <- paste0("--file=", file)
    unlockBinding("commandArgs", baseenv())
    assign("commandArgs", envir = baseenv(),
           eval(bquote(function(trailingOnly = FALSE) if (trailingOnly) character() else .(words)), baseenv()))
    lockBinding("commandArgs", baseenv())
  }

  # As R ends a script that fails. Without a call: that would be ours.
  fail <- function(text) {
    cat("Error: ", text, "\nExecution halted\n", sep = "", file = stderr())
    quit(save = "no", status = 1L, runLast = FALSE)
  }

  # -- a file, expression by expression ------------------------------------------------------------------------------

  expressions <- list()
  current <- 0L
  shown <- 0L

  read <- function() {
    lines <- readLines(file, warn = FALSE)
    if (length(lines)) lines[[1]] <- without_mark(lines[[1]])
    # Rscript takes the file for text in the locale's encoding, which is C in many containers. plumber and Connect take
    # a file that returns a router for UTF-8, so that its texts reach clients unharmed.
    utf8 <- all(validUTF8(lines))
    expressions <<- parsed(lines, if (utf8 && l10n_info()[["UTF-8"]]) "UTF-8" else "unknown")
    if (utf8 && !any(vapply(expressions, starts_server, NA))) {
      expressions <<- parsed(lines, "UTF-8")
    }
  }

  parsed <- function(lines, encoding) {
    as.list(tryCatch(
      parse(text = lines, keep.source = FALSE, encoding = encoding),
      error = function(e) fail(gsub("<text>", file, conditionMessage(e), fixed = TRUE))
    ))
  }

  # Editors on Windows begin a file with a byte order mark, which R itself takes for an unknown symbol.
  without_mark <- function(line) {
    bytes <- charToRaw(line)
    if (identical(bytes[1:3], as.raw(c(0xef, 0xbb, 0xbf)))) rawToChar(bytes[-(1:3)]) else line
  }

  # Makes `.faucet.step` a promise of the next expression: forcing a promise puts no function on the stack.
  another <- function() {
    if (current == 0L) .Internal(enableJIT(jit))
    check_shown()
    if (current == length(expressions)) return(FALSE)
    current <<- current + 1L
    do.call(delayedAssign, list(".faucet.step", expressions[[current]], globalenv(), .AutoloadEnv))
    TRUE
  }

  # A `break` or `next` of the file, outside of any loop of its own, would be ours.
  check_shown <- function() if (shown < current) fail("no loop for break/next, jumping to top level")

  # What R's own loop does after each expression.
  show <- function() {
    shown <<- current
    result <- get(".faucet.value", .AutoloadEnv)
    if (result$visible && !(current == length(expressions) && is_router(result$value))) {
      printer <- if (isS4(result$value)) quote(methods::show(x)) else quote(base::print(x))
      eval(printer, list(x = result$value), globalenv())  # where the script's own methods are found
    }
    print_warnings()
  }

  # R's own text begins with "In addition: ", since it is meant for what has been printed by then.
  print_warnings <- function() {
    text <- character()
    before <- sink.number(type = "message")
    to <- textConnection("text", "w", local = TRUE)
    sink(to, type = "message")
    .Internal(printDeferredWarnings())
    sink(if (before == 2L) NULL else getConnection(before), type = "message")
    close(to)
    if (length(text)) cat(sub("^In addition: ", "", text), sep = "\n", file = stderr())
  }

  finish <- function() {
    check_shown()
    result <- get(".faucet.value", .AutoloadEnv)
    last <- if (length(expressions)) expressions[[length(expressions)]]
    if (is_router(result$value)) {
      if (!has_run(result, last)) run(result$value)
    } else if (!starts_server(last)) {
      cat("faucet: ", file, " ended without starting a server, and its last value (",
          paste(class(result$value), collapse = ", "), ") is not a router.\n", sep = "", file = stderr())
    }
  }

  # -- routers -------------------------------------------------------------------------------------------------------

  # Plumber since 1.0, plumber before; plumber2's inherits from fiery's.
  is_router <- function(value) is.environment(value) && inherits(value, c("Plumber", "plumber", "Fire"))

  # `api |> api_run()` of plumber2 and `app$ignite()` of fiery return their API, invisibly, once it has been stopped.
  has_run <- function(result, last) inherits(result$value, "Fire") && !result$visible && starts_server(last)

  starts_server <- function(expression) {
    if (!is.call(expression) || identical(expression[[1L]], quote(`function`))) return(FALSE)
    head <- expression[[1L]]
    if (is.call(head)) head <- head[[length(head)]]
    name <- if (is.name(head) || is.character(head)) as.character(head) else ""
    name %in% c("pr_run", "run", "api_run", "ignite", "reignite", "runServer", "start", "launch_server") ||
      any(vapply(Filter(is.call, as.list(expression)), starts_server, NA))
  }

  run <- function(router) {
    print_warnings()
    if (inherits(router, "Fire")) {
      router$host <- host
      router$port <- port
      invisible(do.call(router$ignite, c(list(block = TRUE), quietly(router$ignite, "silent"))))
    } else {
      invisible(do.call(router$run, c(list(host = host, port = port), quietly(router$run, "quiet"))))
    }
  }

  # The address of one worker, behind the lock, is nothing for the log.
  quietly <- function(f, name) if (name %in% names(formals(f))) structure(list(TRUE), names = name)

  launch_server <- function(engine) {
    namespace <- loadNamespace(engine)
    launch <- get0("launch_server", envir = namespace, mode = "function", inherits = FALSE)
    if (is.null(launch)) {
      fail(paste0("the package '", engine, "', the engine in ", file, ", has no launch_server()"))
    }
    print_warnings()
    invisible(launch(file, host = host, port = port))
  }

  hide_ourselves()
  if (nzchar(Sys.getenv("FAUCET_TEMPLATE"))) sys.source(Sys.getenv("FAUCET_TEMPLATE"), environment())
  if (what == "script") read()
  # R would compile the loop below as a whole, and load its compiler for that.
  jit <- if (what == "script") .Internal(enableJIT(0L))
})

# One expression: a worker that is forked in it must not read on, since it shares the place in this file with others.
{
  if (.faucet$what == "script") {
    while (.faucet$another()) {
      .faucet.value <<- .Internal(withVisible(.faucet.step))
      .faucet$show()
    }
  } else if (.faucet$what != "server") {
    library(plumber)  # as those who wrote the file had it: plumb() and forward() are found
  }

  switch(.faucet$what,
    script = .faucet$finish(),
    plumber = .faucet$run(plumber::plumb(.faucet$file)),
    server = .faucet$launch_server(.faucet$arguments[[3]]),
    package = .faucet$run(plumber::plumb_api(.faucet$file, .faucet$arguments[[3]]))
  )
}
