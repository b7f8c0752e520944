# Makes the R that launch.R runs in a template: it evaluates the API up to the moment in which httpuv would start to
# listen, and then forks a worker for each order, instead of listening itself. Loaded by launch.R, below `.faucet`.
#
# A worker goes on from there with a port, two outputs, a session and a temporary directory of its own. It is forked
# twice, so that Faucet inherits it (PR_SET_CHILD_SUBREAPER) and learns how it ends, as of every other worker. libc's
# fork() is called, not parallel:::mcfork(): that leaves the child without the compiler, and with handlers of its own.
#
# Orders come on one descriptor, reports leave on another:
#
#     fork OUT ERR NAME=VALUE ...    reports `pid PID` from the worker, and `done` from here; or `failed`
#
# with `ready` or `refused TEXT` once before them. Everything is percent-encoded, and separated by blanks.

preload <- new.env(parent = environment())

local(envir = preload, {
  fds <- as.integer(strsplit(Sys.getenv("FAUCET_TEMPLATE_FDS"), " ", fixed = TRUE)[[1]])
  Sys.unsetenv(c("FAUCET_TEMPLATE", "FAUCET_TEMPLATE_FDS"))
  # What the API starts now has a mark that the workers do not have: it ends with the template, and they do not.
  Sys.setenv(FAUCET_INSTANCE = paste0(Sys.getenv("FAUCET_INSTANCE"), ".t"))
  options(faucet.preload = TRUE)  # for the API, which may open connections later then
  libc <- NULL
  in_worker <- FALSE
  between_was_killed <- FALSE
  worker_port <- NULL

  threads <- function() list.files("/proc/self/task")
  seen <- threads()
  not_missed <- character()

  # Packages that start a thread when they are loaded, and do not miss it after a fork: it wakes R's own event loop, which
  # no worker runs, or counts time for progress bars.
  for (package in c("later", "cli")) setHook(packageEvent(package, "onLoad"), function(...) {
    new <- setdiff(threads(), seen)
    not_missed <<- c(not_missed, new[order(as.integer(new))][length(new)])
    seen <<- threads()
  })

  setHook(packageEvent("httpuv", "onLoad"), function(...) {
    namespace <- asNamespace("httpuv")
    replace <- function(name, by) {
      unlockBinding(name, namespace)
      assign(name, by, envir = namespace)
      lockBinding(name, namespace)
    }
    start <- get("startServer", namespace)
    replace("startServer", function(host, port, app, ...) start(host, fork_here(port, app), app, ...))
    if (exists("startPipeServer", namespace, inherits = FALSE)) {
      replace("startPipeServer", function(name, ...) refuse(paste("it listens on the Unix socket", name)))
    }
  })

  # Returns in workers only: the port to listen on.
  fork_here <- function(wanted, app) {
    if (!in_worker) {
      if (!identical(as.integer(wanted), port)) {
        refuse(paste0("it listens on port ", wanted, ", which is fixed, instead of the port in FAUCET_PORT"))
      }
      in_worker <<- take_orders(app)
    }
    if (identical(as.integer(wanted), port)) worker_port else wanted
  }

  take_orders <- function(app) {
    print_warnings()
    # Not opened before: closeAllConnections() is what many scripts begin with.
    orders <- fifo(paste0("/dev/fd/", fds[[1]]), "r", blocking = TRUE)
    reports <- fifo(paste0("/dev/fd/", fds[[2]]), "w", blocking = TRUE)
    report <- function(...) cat(paste0(paste(...), "\n"), file = reports)  # one text, one write: two may report at once
    libc <<- load_libc()
    for (i in 1:3) gc()  # closes what nothing refers to, and lets the rest grow old: the old is not written to again
    shared <- shared_with_workers(app)
    if (length(shared)) refuse(paste("these would be shared by all workers:", paste(shared, collapse = "; ")))
    leave_temporary_directory()
    parallel:::closeFD(fds)
    report("ready")
    while (length(line <- next_order(orders))) {
      words <- decoded(strsplit(line, " ", fixed = TRUE)[[1]])
      if (fork_twice()) {
        become_worker(words[2:3], words[-(1:3)], report)
        close(orders)
        close(reports)
        return(TRUE)
      }
      report(if (between_was_killed) "done" else "failed")
    }
    quit(save = "no", runLast = FALSE)
  }

  # Faucet closes the other end, or is gone. A signal looks like that once.
  next_order <- function(orders) {
    for (try in 1:3) if (length(line <- readLines(orders, 1L))) return(line)
  }

  refuse <- function(text) {
    cat(paste0("refused ", encoded(text), "\n"), file = fifo(paste0("/dev/fd/", fds[[2]]), "w", blocking = TRUE))
    quit(save = "no", status = 1L, runLast = FALSE)
  }

  encoded <- function(text) utils::URLencode(enc2utf8(text), reserved = TRUE)
  decoded <- function(words) vapply(words, utils::URLdecode, "", USE.NAMES = FALSE)

  # -- processes -----------------------------------------------------------------------------------------------------

  # R can call every function of a library that takes pointers, or nothing.
  load_libc <- function() {
    maps <- sub("^[^/]*", "", readLines("/proc/self/maps"))
    path <- grep("/(libc[.-][^/]*|ld-musl-[^/]*|libc-[0-9.]+[.]so)$", maps, value = TRUE)[[1]]
    sapply(c("fork", "wait", "setsid", "creat"), getNativeSymbolInfo, dyn.load(path), simplify = FALSE)
  }

  # Whether this is a worker. The process between has exited when the template goes on.
  fork_twice <- function() {
    template <- Sys.getpid()
    .C(libc$fork)
    if (Sys.getpid() == template) {
      between_was_killed <<- .C(libc$wait, 0L)[[1]] == tools::SIGKILL  # else fork() has failed
      return(FALSE)
    }
    between <- Sys.getpid()
    .C(libc$fork)
    if (Sys.getpid() == between) tools::pskill(between, tools::SIGKILL)
    TRUE
  }

  become_worker <- function(outputs, values, report) {
    # creat(2) takes the lowest descriptor, the one closed before. An R connection would: closeAllConnections() ends it.
    parallel:::closeStdout(FALSE)
    .C(libc$creat, c(charToRaw(outputs[[1]]), as.raw(0)), raw(8))
    parallel:::closeStderr(FALSE)
    .C(libc$creat, c(charToRaw(outputs[[2]]), as.raw(0)), raw(8))
    .C(libc$setsid)
    do.call(Sys.setenv, as.list(structure(sub("^[^=]*=", "", values), names = sub("=.*", "", values))))
    report("pid", Sys.getpid())
    worker_port <<- as.integer(Sys.getenv("FAUCET_PORT"))
    options(plumber.port = worker_port)
    tempdir(check = TRUE)
    new_seed()
    hooks <- getOption("faucet.on_fork")
    for (hook in if (is.list(hooks)) hooks else list(hooks)) if (is.function(hook)) hook()
    print_warnings()
  }

  # Nothing of ours is left at the name that R knows, and so each worker makes a directory of its own there, below its
  # own TMPDIR, and removes none but that when it exits. What the API has written before stays where it is.
  leave_temporary_directory <- function() {
    old <- tempdir()
    hidden <- paste0(old, "-before")
    if (file.rename(old, hidden)) {
      unlink(tempdir(check = TRUE), recursive = TRUE)
      file.rename(hidden, old)
    }
  }

  new_seed <- function() {
    if (!exists(".Random.seed", globalenv(), inherits = FALSE)) return()
    set.seed(NULL)
    parallel::mc.reset.stream()
  }

  # -- what workers must not share -----------------------------------------------------------------------------------

  shared_with_workers <- function(app) {
    handles <- handles_in(app)
    found <- c(open_connections(), open_descriptors(), running_threads(), children())
    if (length(found) && length(handles)) found <- c(handles, found)
    unname(unlist(found))
  }

  # Objects of database packages in the API's variables.
  handles_in <- function(app) {
    where <- c(list(globalenv()), tryCatch(list(app$environment), error = function(e) list()))
    unlist(lapply(Filter(is.environment, where), function(env) {
      names <- Filter(function(name) !bindingIsActive(name, env), ls(env))
      is_handle <- function(name) {
        inherits(get(name, env), c("DBIConnection", "Pool", "RODBC", "redis_api", "mongo", "H2OConnection"))
      }
      vapply(Filter(is_handle, names), function(name) paste0(name, " (", class(get(name, env))[[1]], ")"), "")
    }))
  }

  # Those that workers would read from in turns, each a piece.
  open_connections <- function() {
    all <- showConnections(all = FALSE)
    if (!nrow(all)) return(NULL)
    memory <- all[, "class"] %in% c("textConnection", "rawConnection")
    appended <- all[, "class"] %in% c("file", "gzfile") & all[, "can read"] == "no"
    ours <- startsWith(all[, "description"], "/dev/fd/")
    all <- all[all[, "isopen"] == "opened" & !memory & !appended & !ours, , drop = FALSE]
    if (nrow(all)) paste0("the connection ", all[, "class"], "(\"", all[, "description"], "\")")
  }

  open_descriptors <- function() {
    numbers <- setdiff(list.files("/proc/self/fd"), c("0", "1", "2"))
    targets <- Sys.readlink(file.path("/proc/self/fd", numbers))
    ours <- targets %in% Sys.readlink(file.path("/proc/self/fd", c(0:2, fds)))
    targets <- targets[!ours & !is.na(targets) & nzchar(targets)]
    sockets <- regmatches(targets, regexpr("(?<=^socket:\\[)[0-9]+", targets, perl = TRUE))
    pipes <- grep("^pipe:", targets, value = TRUE)
    alone <- setdiff(pipes, pipes[duplicated(pipes)])  # with both ends here, it is for this process only
    devices <- setdiff(grep("^/dev/", targets, value = TRUE), paste0("/dev/", c("null", "zero", "random", "urandom")))
    databases <- Filter(is_database, grep("^/(?!dev/|proc/)", targets, value = TRUE, perl = TRUE))
    c(vapply(sockets, socket_name, ""), if (length(alone)) "a pipe to another process",
      if (length(devices)) paste("the device", devices), if (length(databases)) paste("the database", databases))
  }

  is_database <- function(path) {
    bytes <- tryCatch(readBin(path, "raw", 16L), error = function(e) raw(), warning = function(w) raw())
    identical(bytes[1:13], charToRaw("SQLite format")) || identical(bytes[9:12], charToRaw("DUCK"))
  }

  # `the TCP connection to 10.0.0.7:5432`
  socket_name <- function(inode) {
    for (kind in c("tcp", "tcp6", "udp", "udp6", "unix")) {
      lines <- tryCatch(readLines(file.path("/proc/self/net", kind)), error = function(e) character())
      words <- strsplit(trimws(lines), " +")
      at <- if (kind == "unix") 7L else 10L
      for (line in words) if (length(line) >= at && line[[at]] == inode) return(described(kind, line))
    }
    "a socket"
  }

  described <- function(kind, line) {
    if (kind == "unix") return(paste0("a Unix socket", if (length(line) > 7L) paste0(" (", line[[8]], ")")))
    kind <- toupper(sub("6$", "", kind))
    if (line[[4]] == "0A") return(paste("a listening", kind, "socket on port", address(line[[2]], "")))
    paste("the", kind, "connection to", address(line[[3]]))
  }

  address <- function(text, host = NULL) {
    parts <- strsplit(text, ":", fixed = TRUE)[[1]]
    hex <- substr(parts[[1]], nchar(parts[[1]]) - 7L, nchar(parts[[1]]))  # of IPv6, what holds a mapped address of IPv4
    if (is.null(host)) {
      mapped <- nchar(parts[[1]]) == 8L || grepl("FFFF0000", parts[[1]], fixed = TRUE)
      host <- paste(strtoi(substring(hex, c(7, 5, 3, 1), c(8, 6, 4, 2)), 16L), collapse = ".")
      host <- if (mapped) paste0(host, ":") else "an address of IPv6, port "
    }
    paste0(host, strtoi(parts[[2]], 16L))
  }

  # Of those that survive a fork in the template: OpenBLAS ends its threads before one, and starts them again when needed.
  running_threads <- function() {
    this <- Sys.getpid()
    .C(libc$fork)
    if (Sys.getpid() != this) tools::pskill(Sys.getpid(), tools::SIGKILL)
    .C(libc$wait, 0L)
    others <- setdiff(threads(), c(this, not_missed))
    if (!length(others)) return(NULL)
    names <- vapply(others, function(id) tryCatch(readLines(file.path("/proc/self/task", id, "comm")),
                                                  error = function(e) "?"), "")
    known <- intersect(loadedNamespaces(), c("arrow", "data.table", "duckdb", "h2o", "keras", "later", "lightgbm",
      "polars", "pool", "ranger", "RcppParallel", "reticulate", "rJava", "sparklyr", "tensorflow", "torch", "xgboost"))
    from <- if (length(known)) paste0("; packages that start some: ", paste(known, collapse = ", "))
    paste0(length(others), if (length(others) == 1L) " thread (" else " threads (",
           paste(unique(names), collapse = ", "), from, ")")
  }

  children <- function() {
    lines <- unlist(lapply(file.path("/proc/self/task", threads(), "children"), function(file) {
      tryCatch(readLines(file, warn = FALSE), error = function(e) character())
    }))
    pids <- unlist(strsplit(trimws(lines), " +"))
    pids <- pids[nzchar(pids)]
    if (!length(pids)) return(NULL)
    name <- function(pid) tryCatch(readLines(file.path("/proc", pid, "comm")), error = function(e) "?")
    paste0("the process ", pids, " (", vapply(pids, name, ""), "), which it has started")
  }
})
