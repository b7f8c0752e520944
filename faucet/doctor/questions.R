# What `faucet doctor` asks R: Rscript questions.R ENGINE FILE..., in the directory of the API. ENGINE is `-` without one.
#
# The files are parsed, never run. Each answer is a line of its own, `faucet:KIND=FIELD<RS>FIELD...`, whatever .Rprofile
# prints before; a field that begins with `!` says what is wrong.

.faucet <- new.env(parent = baseenv())

local(envir = .faucet, {
  utils <- asNamespace("utils")
  arguments <- commandArgs(trailingOnly = TRUE)

  tell <- function(kind, ...) {
    fields <- gsub("\n", "\037", vapply(list(...), as.character, ""), fixed = TRUE)
    cat("\nfaucet:", kind, "=", paste(fields, collapse = "\036"), "\n", sep = "")
  }
  ask <- function(kind, answer) tell(kind, tryCatch(answer, error = function(e) paste0("!", conditionMessage(e))))

  # -- constants: names that stand for literal texts and numbers in a file -------------------------------------------

  is_empty <- function(e) is.symbol(e) && !nzchar(as.character(e))

  # The name of the function that is called, without its package: `run` for app$run() and plumber::run().
  called <- function(e) {
    head <- e[[1L]]
    if (is.call(head) && length(head) == 3L) head <- head[[3L]]
    if (is.symbol(head) || is.character(head)) as.character(head)[[1L]] else ""
  }
  package_of <- function(e) {
    head <- e[[1L]]
    if (is.call(head) && as.character(head[[1L]])[[1L]] %in% c("::", ":::")) as.character(head[[2L]]) else ""
  }
  given <- function(e) {
    values <- as.list(e)[-1L]
    names <- names(values)
    if (is.null(names)) names <- rep("", length(values))
    keep <- !vapply(values, is_empty, NA)
    list(values = values[keep], names = names[keep])
  }
  # The argument `name`, or else the first without a name.
  argument <- function(e, name) {
    arguments <- given(e)
    at <- c(which(arguments$names == name), which(arguments$names == ""))
    if (length(at)) arguments$values[[at[[1L]]]]
  }

  texts <- function(e, constants) {
    if (is.character(e)) return(e)
    if (is.symbol(e)) {
      value <- constants[[as.character(e)]]
      return(if (is.character(value)) value)
    }
    if (!is.call(e)) return(NULL)
    parts <- lapply(given(e)$values, texts, constants)
    switch(called(e),
      c = , unique = , unlist = unlist(parts),
      "(" = , normalizePath = , path.expand = if (length(parts)) parts[[1L]],
      file.path = , here = , path = if (length(parts) && all(lengths(parts) == 1L)) paste(parts, collapse = "/"),
      paste0 = if (length(parts) && all(lengths(parts) == 1L)) paste(parts, collapse = ""),
      NULL
    )
  }
  number <- function(e, constants) {
    if (is.numeric(e) && length(e) == 1L) return(e)
    if (is.symbol(e)) {
      value <- constants[[as.character(e)]]
      return(if (is.numeric(value) && length(value) == 1L) value)
    }
    if (!is.call(e) || !called(e) %in% c("as.integer", "as.numeric", "(")) return(NULL)
    inner <- argument(e, "x")
    value <- if (is.character(inner)) suppressWarnings(as.numeric(inner)) else number(inner, constants)
    if (length(value) == 1L && !is.na(value)) value
  }

  remember <- function(name, value, constants) {
    before <- constants[[name]]
    if (is.character(before) && is.character(value)) value <- unique(c(before, value))
    if (is.numeric(before) && !identical(before, value)) value <- NA  # which of them counts, only running it would tell
    assign(name, value, envir = constants)
  }
  collect <- function(e, constants) {
    if (!is.call(e) && !is.expression(e) && !is.pairlist(e)) return(invisible())
    if (is.call(e) && length(e) == 3L && called(e) %in% c("<-", "=", "<<-") && is.symbol(e[[2L]]) && !is_empty(e[[3L]])) {
      value <- texts(e[[3L]], constants)
      if (is.null(value)) value <- number(e[[3L]], constants)
      remember(as.character(e[[2L]]), if (is.null(value)) NA else value, constants)
    }
    if (is.call(e) && identical(e[[1L]], quote(`for`))) {
      value <- texts(e[[3L]], constants)
      if (!is.null(value)) remember(as.character(e[[2L]]), value, constants)
    }
    for (i in seq_along(e)) if (!is_empty(e[[i]])) collect(e[[i]], constants)
  }

  # -- one file ------------------------------------------------------------------------------------------------------

  LOADS <- c("library", "loadNamespace", "attachNamespace", "getNamespace", "asNamespace")
  TRIES <- c("require", "requireNamespace")
  TESTS <- c(TRIES, "installed.packages", "is_installed", "find.package", "system.file", "packageVersion")
  INSTALLS <- c("install.packages", "install", "p_load", "install_cran", "install_github", "pkg_install")
  SKIPPED <- c("quote", "expression", "substitute", "bquote")
  SOURCES <- c("source", "sys.source", "plumb", "pr", "new", "api", "import")
  LISTS <- c("list.files", "dir", "dir_ls")
  RUNS <- c("pr_run", "run", "api_run", "runServer", "startServer", "start", "ignite", "listen")
  APPLIES <- c("lapply", "sapply", "vapply", "Map", "map", "walk", "for_each")
  VARIABLES <- c("FAUCET_PORT", "PORT", "PLUMBER_PORT", "PLUMBER2_PORT")

  ANNOTATIONS <- c(csv = "readr", tsv = "readr", feather = "arrow", parquet = "arrow", geojson = "geojsonsf",
                   yaml = "yaml", htmlwidget = "htmlwidgets")

  queue <- list()
  seen <- character()
  asked <- new.env()
  installed_by_itself <- character()

  follow <- function(paths, file) {
    for (path in paths) {
      there <- Filter(function(p) file.exists(p) && !dir.exists(p), unique(c(path, file.path(dirname(file), path))))
      if (length(there)) queue[[length(queue) + 1L]] <<- sub("^\\./", "", there[[1L]])
    }
  }

  need <- function(packages, how, at, optional = FALSE) {
    for (package in packages) {
      if (!grepl("^[A-Za-z][A-Za-z0-9.]+$", package)) next
      guarded <- optional || at$optional || package %in% at$guarded
      known <- asked[[package]]
      if (is.null(known) || (known$optional && !guarded)) {
        line <- line_of(package, at)
        assign(package, list(file = at$file, line = line, how = how, optional = guarded), envir = asked)
      }
    }
  }
  # Within the statement, which may be long: the first token that names it.
  line_of <- function(text, at) {
    tokens <- at$tokens
    if (is.null(tokens)) return(at$from)
    words <- gsub("^[\"'`]|[\"'`]$", "", tokens$text)
    hits <- tokens$line1[words == text & tokens$line1 >= at$from & tokens$line1 <= at$to]
    if (length(hits)) min(hits) else at$from
  }

  look <- function(file) {
    lines <- readLines(file, warn = FALSE, encoding = "UTF-8")
    if (length(lines)) lines[[1L]] <- without_mark(lines[[1L]])
    parsed <- tryCatch(
      parse(text = lines, srcfile = srcfilecopy(file, lines), keep.source = TRUE, encoding = "UTF-8"),
      error = function(e) e
    )
    if (inherits(parsed, "error")) {
      return(tell("file", file, paste0("!", gsub("<text>", file, conditionMessage(parsed), fixed = TRUE))))
    }
    tell("file", file, "")
    constants <- new.env(parent = emptyenv())
    collect(parsed, constants)
    tokens <- utils$getParseData(parsed)
    comments <- tokens[tokens$token == "COMMENT", c("line1", "text")]
    tokens <- tokens[tokens$terminal & tokens$token != "COMMENT", c("line1", "text")]
    if (any(gsub("^[\"']|[\"']$", "", tokens$text) %in% VARIABLES)) tell("reads", file)
    at <- list(file = file, from = 1L, to = length(lines), tokens = tokens, constants = constants,
               sources = any(c("source", "sys.source") %in% tokens$text), optional = FALSE, guarded = character(),
               statement = TRUE)
    for (i in seq_len(NROW(comments))) {
      place <- at
      place$from <- comments$line1[[i]]
      place$tokens <- NULL
      annotated(comments$text[[i]], place)
    }
    statements(parsed, attr(parsed, "srcref"), at)
  }
  # Plumber refuses to start where a serializer or a parser lacks its package.
  annotated <- function(comment, at) {
    words <- regmatches(comment, regexec("^#[*'] ?@(serializer|parser) +([a-z]+)", comment))[[1L]]
    if (!length(words)) return(invisible())
    package <- ANNOTATIONS[words[[3L]]]
    if (!is.na(package)) need(package[[1L]], paste0("@", words[[2L]], " ", words[[3L]]), at)
  }
  without_mark <- function(line) {
    bytes <- charToRaw(line)
    if (identical(bytes[1:3], as.raw(c(0xef, 0xbb, 0xbf)))) rawToChar(bytes[-(1:3)]) else line
  }

  statements <- function(e, places, at) {
    at$statement <- TRUE
    for (i in seq_along(e)) {
      if (is_empty(e[[i]])) next
      if (!is.null(places) && i <= length(places)) {
        place <- as.integer(places[[i]])
        at$from <- place[[1L]]
        at$to <- place[[3L]]
      }
      walk(e[[i]], at)
    }
  }

  walk <- function(e, at) {
    if (is.pairlist(e)) return(each(e, at))
    if (!is.call(e)) return(invisible())
    name <- called(e)
    if (name %in% SKIPPED) return(invisible())
    if (name == "{") return(statements(e, attr(e, "srcref"), at))
    if (name == "if") return(branch(e, at))
    if (name %in% c("&&", "||") && length(e) == 3L) return(both(e, name, at))
    if (name %in% c("tryCatch", "try")) at$optional <- TRUE
    look_at_call(e, name, at)
    passes <- name %in% c("suppressPackageStartupMessages", "suppressWarnings", "suppressMessages", "invisible", "(",
                          "withCallingHandlers", "local", "tryCatch", "try", "function", "for", "while", "repeat")
    at$statement <- at$statement && passes
    if (name == "function") at$statement <- TRUE
    each(e, at)
  }
  each <- function(e, at) {
    for (i in seq_along(e)) if (!is_empty(e[[i]])) walk(e[[i]], at)
  }

  # Packages that a condition asks for.
  tested <- function(e, at) {
    if (!is.call(e) || !any(TESTS %in% all.names(e))) return(character())
    found <- if (called(e) %in% TRIES) package_named(e, at) else texts(e, at$constants)
    for (value in given(e)$values) {
      found <- c(found, if (is.call(value)) tested(value, at) else if (is.character(value)) value)
    }
    unique(found)
  }
  gives_up <- function(e) is.call(e) && any(c("stop", "abort", "quit", "q", "stopifnot") %in% all.names(e))

  branch <- function(e, at) {
    condition <- e[[2L]]
    negated <- is.call(condition) && called(condition) == "!"
    plain <- if (negated) condition[[2L]] else condition
    fixed <- if (is.call(plain) && called(plain) == "interactive") FALSE else if (is.logical(plain)) isTRUE(plain)
    if (!is.null(fixed)) {
      taken <- if (fixed != negated) 3L else 4L
      if (taken <= length(e)) walk(e[[taken]], at)
      return(invisible())
    }
    guarded <- tested(plain, at)
    walk(condition, replace(at, "statement", FALSE))
    lacking <- if (negated) 3L else 4L
    if (length(guarded) && lacking <= length(e) && gives_up(e[[lacking]])) need(guarded, "tested", at)
    at$guarded <- c(at$guarded, guarded)
    for (i in 3:length(e)) walk(e[[i]], at)
  }

  # `requireNamespace("x") || stop()`, `require(x) && x::f()`
  both <- function(e, name, at) {
    guarded <- tested(e[[2L]], at)
    at$statement <- FALSE
    if (name == "||" && gives_up(e[[3L]])) need(guarded, "tested", at)
    walk(e[[2L]], at)
    at$guarded <- c(at$guarded, guarded)
    walk(e[[3L]], at)
  }

  package_named <- function(e, at) {
    arguments <- given(e)
    if ("lib.loc" %in% arguments$names || "help" %in% arguments$names) return(character())
    value <- argument(e, "package")
    if (is.null(value)) return(character())
    literal <- called(e) %in% c("library", "require") && !isTRUE(tryCatch(
      eval(arguments$values[arguments$names == "character.only"][[1L]], baseenv()), error = function(e) FALSE))
    if (is.symbol(value) && literal) as.character(value) else texts(value, at$constants)
  }

  look_at_call <- function(e, name, at) {
    package <- package_of(e)
    arguments <- given(e)
    if (name %in% c("::", ":::")) return(need(as.character(e[[2L]]), paste0(as.character(e[[2L]]), name), at))
    if (name %in% LOADS) need(package_named(e, at), paste0(name, "()"), at)
    if (name %in% TRIES) need(package_named(e, at), paste0(name, "()"), at, !at$statement)
    if (name == "stopifnot") need(tested(e, at), "stopifnot()", at)
    if (name %in% INSTALLS) installed_by_itself <<- c(installed_by_itself, installs(e, at))
    if (name == "use" && package == "box") boxed(arguments$values, at)
    if (name == "use" && package %in% c("", "base") && is.character(argument(e, "package"))) {
      need(argument(e, "package"), "use()", at)
    }
    if (package == "import" && name %in% c("from", "here")) imported(argument(e, ".from"), at)
    if (name %in% APPLIES) applied(arguments$values, at)
    if (name %in% SOURCES) follow(r_files(arguments$values, at), at$file)
    if (name %in% LISTS && at$sources) listed(argument(e, "path"), at)
    if (name %in% RUNS || name == "options") port(e, name, arguments, at)
    if (name == "new" && grepl("(Fire|Ambiorix)\\$new$", deparse(e[[1L]])[[1L]])) port(e, name, arguments, at)
  }
  installs <- function(e, at) {
    found <- texts(argument(e, "pkgs"), at$constants)
    if (called(e) == "p_load") found <- c(found, vapply(Filter(is.symbol, given(e)$values), as.character, ""))
    basename(as.character(found))
  }
  boxed <- function(values, at) {
    for (value in values) {
      if (is.call(value) && called(value) == "[") value <- value[[2L]]
      if (is.symbol(value)) need(as.character(value), "box::use()", at)
      if (is.call(value) && called(value) == "/") {
        path <- gsub(" ", "", deparse(value)[[1L]], fixed = TRUE)
        if (startsWith(path, ".")) follow(c(paste0(path, ".R"), paste0(path, ".r"), paste0(path, "/__init__.R")), at$file)
      }
    }
  }
  imported <- function(value, at) {
    names <- if (is.symbol(value)) as.character(value) else texts(value, at$constants)
    if (any(grepl("\\.[Rr]$", names))) follow(names, at$file) else need(names, "import::from()", at)
  }
  # lapply(c("a", "b"), library, character.only = TRUE), and with a function of its own.
  applied <- function(values, at) {
    names <- unlist(lapply(values, texts, at$constants))
    for (value in values) {
      if (is.symbol(value) && as.character(value) %in% c(LOADS, "require")) need(names, as.character(value), at)
      if (is.call(value) && called(value) == "function" && length(value[[2L]]) && length(names)) {
        remember(names(value[[2L]])[[1L]], names, at$constants)
      }
    }
  }
  r_files <- function(values, at) {
    found <- unlist(lapply(values, texts, at$constants))
    found[grepl("\\.[Rr]$", found)]
  }
  listed <- function(value, at) {
    for (place in texts(value, at$constants)) {
      if (dir.exists(place)) follow(list.files(place, "\\.[Rr]$", full.names = TRUE), at$file)
    }
  }

  port <- function(e, name, arguments, at) {
    wanted <- if (name == "options") "plumber.port" else c("port", "http_port")
    values <- arguments$values[arguments$names %in% wanted]
    if (!length(values) && name %in% c("pr_run", "run", "runServer", "startServer", "api_run")) {
      numbers <- lapply(arguments$values[arguments$names == ""], number, at$constants)
      values <- Filter(function(n) !is.null(n) && !is.na(n) && n >= 80, numbers)
    }
    for (value in values) {
      fixed <- number(value, at$constants)
      if (length(fixed) && !is.na(fixed) && fixed > 0) {
        tell("port", at$file, line_of(if (name == "options") "plumber.port" else name, at), format(fixed, scientific = FALSE))
      }
    }
  }

  # -- packages: only looked at, not loaded --------------------------------------------------------------------------

  described <- new.env()
  describe <- function(package) {
    if (is.null(described[[package]])) {
      path <- find.package(package, quiet = TRUE)
      value <- if (length(path)) {
        suppressWarnings(utils$packageDescription(package, dirname(path[[1L]])))
      } else NA
      assign(package, if (is.list(value)) value else NA, envir = described)
    }
    described[[package]]
  }

  # What is wrong with what a package needs, and with what that needs: an empty text if nothing is.
  checked <- character()
  lack <- function(package) {
    if (package %in% checked) return("")
    checked <<- c(checked, package)
    description <- describe(package)
    wanted <- as.character(unlist(description[c("Depends", "Imports")]))
    wanted <- trimws(unlist(strsplit(wanted, ",", fixed = TRUE)))
    for (text in wanted[nzchar(wanted)]) {
      name <- sub("[[:space:](].*$", "", text)
      least <- if (grepl(">=", text, fixed = TRUE)) trimws(gsub("^.*>=|[)]", "", text)) else ""
      if (name == "R") {
        if (nzchar(least) && getRversion() < least) return(paste0(package, " needs R ", least))
        next
      }
      other <- describe(name)
      if (!is.list(other)) return(paste0(package, " needs ", name, ", which is not installed"))
      if (nzchar(least) && utils$compareVersion(other$Version, least) < 0) {
        return(paste0(package, " needs ", name, " ", least, " or newer, and ", other$Version, " is installed"))
      }
      deeper <- lack(name)
      if (nzchar(deeper)) return(deeper)
    }
    ""
  }

  tell_package <- function(package) {
    how <- asked[[package]]
    description <- describe(package)
    there <- is.list(description)
    checked <<- character()
    tell("need", package, how$file, how$line, how$how,
         if (package %in% installed_by_itself) "installs" else if (how$optional) "optional" else "required",
         if (there) c(description$Version, "0")[[1L]] else "",
         if (there && length(description$Built)) sub("^R ([0-9.]+).*$", "\\1", description$Built) else "",
         if (there) tryCatch(lack(package), error = function(e) "") else "")
  }

  # -- the questions -------------------------------------------------------------------------------------------------

  tell("R", as.character(getRversion()))
  tell("locale", if (isTRUE(l10n_info()[["UTF-8"]])) "UTF-8" else paste0("!", Sys.getlocale("LC_CTYPE")))
  for (package in c("plumber", "httpuv")) {
    ask(package, { loadNamespace(package); as.character(utils$packageVersion(package)) })
  }
  if (arguments[[1L]] != "-") {
    ask("engine", {
      namespace <- loadNamespace(arguments[[1L]])
      if (!exists("launch_server", envir = namespace, mode = "function", inherits = FALSE)) {
        stop(sprintf("version %s has no function launch_server()", utils$packageVersion(arguments[[1L]])))
      }
      as.character(utils$packageVersion(arguments[[1L]]))
    })
  }
  queue <- as.list(arguments[-1L])
  while (length(queue)) {
    file <- queue[[1L]]
    queue <- queue[-1L]
    path <- normalizePath(file, mustWork = FALSE)
    if (path %in% seen || length(seen) >= 200L) next
    seen <- c(seen, path)
    tryCatch(look(file), error = function(e) tell("failed", file, conditionMessage(e)))
  }
  for (package in sort(ls(asked))) {
    tryCatch(tell_package(package), error = function(e) tell("failed", package, conditionMessage(e)))
  }
})
