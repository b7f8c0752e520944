# Recipes. `just` comes with the development environment: `.ci/prepare test`, then `.venv/bin/just`.

bin := justfile_directory() / ".venv/bin"

# What there is to do
default:
    @{{ bin }}/just --list --unsorted

# Serve the demo API
demo *options:
    {{ bin }}/faucet demo {{ options }}

# Run all tests, side by side; or with pytest's options, in one process, those that they select
test *options:
    {{ bin }}/python -m {{ if options == "" { "tests.support.side_by_side" } else { "pytest " + options } }}

# Run the tests that take a minute together: conversations and unit tests, except those of the monitor, that need no root, no R and no quiet machine, and are not slow
test-fast *options:
    {{ bin }}/python -m tests.support.side_by_side -q -m "not r and not cluster and not quiet and not slow and not inside_tls" --ignore=tests/unit/tui tests/unit tests/conversations tests/rigs/test_house.py {{ options }}

# What each file of tests costs in seconds of CPU, the dearest thirty: all tests one after the other, or those that pytest's options select
test-cost *options:
    {{ bin }}/python -m tests.support.cost {{ options }}

# Build the wheel with its hot modules compiled by mypyc (a C compiler is needed), in dist/: it is for this Python and this machine's kind
wheel-compiled:
    FAUCET_COMPILE=1 {{ bin }}/python -m build --wheel --outdir dist

# Run the unit and property tests of http1 and proxy, and the conversations, on the compiled build; or with pytest's options, others; quick: all but the slow ones, on a build that is not optimized
test-compiled *options:
    {{ bin }}/python -m tests.support.compiled {{ options }}

# Lint, format and types, all of them strict
check:
    {{ bin }}/ruff check --quiet
    {{ bin }}/ruff format --check --quiet
    {{ bin }}/mypy

# Format, and mend what can be mended by machine
fmt:
    {{ bin }}/ruff check --fix --quiet
    {{ bin }}/ruff format --quiet

# Write docs/reference.md, docs/metrics.md, the manual page docs/faucet.1 and the table in docs/requests.md, which are made from the code
reference:
    {{ bin }}/python -m tests.support.reference

# Build the documentation as a site, in build/site; `mkdocs serve` shows it while you write
site:
    {{ bin }}/python -m mkdocs build --strict

# Mutate requests for so many rounds, with another seed each time, and compare with h11
fuzz rounds="1000000":
    {{ bin }}/python -m tests.support.fuzzing {{ rounds }}

# Let programs of others loose on Faucet (`.ci/prepare corpora` installs them): all, or those whose name begins so
corpora *names:
    {{ bin }}/python -m tests.corpora {{ names }}

# Change the locks and the rules of failure, one slip at a time: each must be noticed by their tests (or: mutants locks)
mutants *names:
    {{ bin }}/python -m tests.corpora.mutants {{ names }}

# Build the example images (buildah, debootstrap, as root) and serve from them: two or three minutes
images:
    FAUCET_IMAGES=1 {{ bin }}/python -m pytest tests/rigs/test_images.py

# Build a real Kubernetes API server for tests into a cache outside the checkout, once (needs go, four minutes; and etcd, Debian's etcd-server)
kube:
    tests/support/kube/build

# Torment simulated Faucets of one service for so many seconds, or with one seed, and check that never two grant at once
ha-sim seconds="60" *seed:
    {{ bin }}/python -m tests.support.ha_sim {{ seconds }} {{ seed }}

# Break each rule of --ha on purpose, and print how soon the simulation finds it
ha-mutants *names:
    {{ bin }}/python -m tests.support.ha_found {{ names }}

# Torment real Faucets with --ha on hosts of their own and a real API server (as root, after `just kube`): all scenarios, or SCENARIO=TIMES …
ha-trial *arguments:
    {{ bin }}/python -m tests.support.ha_trial {{ arguments }}

# Torment a service for so many seconds, and count what became of every request (and with which seed)
chaos seconds="300" *seed:
    {{ bin }}/python -m tests.support.chaos {{ seconds }} {{ seed }}

# README's first command and the tests with R in a clean Debian: trixie or bookworm (as root); --clean deletes the cache
fresh suite *options:
    python3 -m tests.support.fresh {{ suite }} {{ options }}

# Compare with nginx and HAProxy: all, or plumber peers fast upload standard mix compiled limits queue parser preload memory idle otel pythons monitor ssh relay
bench *names:
    {{ bin }}/python -m tests.bench {{ names }}

# Make screenshots/ anew: the real monitor on a real API, under load (needs R; Chromium for that of a browser)
screenshots:
    {{ bin }}/python -m tests.support.screenshots
    {{ bin }}/python -m tests.support.screenshots_pods
