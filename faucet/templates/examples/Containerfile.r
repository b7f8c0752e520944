# R, a Plumber API and Faucet in one image. In a directory with your API in api/ (`faucet init api` writes one):
#
#   python3 -m pip wheel --no-deps --wheel-dir . PATH/TO/FAUCET        # a checkout
#   faucet example containerfile-r > Containerfile
#   podman build --format docker -t my-api .      # or: docker build -t my-api -f Containerfile .
#   podman run --rm -p 127.0.0.1:3838:3838 my-api
#
# (`--format docker`, since an OCI image has no health check.)
#
# No tini or other init is needed: as process 1, Faucet passes signals on, reaps the children of others, and ends R when
# it ends.
ARG BASE=debian:trixie-slim

FROM ${BASE}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3-venv r-base-core r-cran-plumber \
 && rm -rf /var/lib/apt/lists/*
# Packages of your API. Debian has many of them built already, which takes seconds where compiling takes minutes:
# RUN apt-get update && apt-get install --yes --no-install-recommends r-cran-dplyr r-cran-dbi r-cran-rsqlite
# RUN Rscript -e 'install.packages("vetiver")'    # others, from CRAN; add r-base-dev above to compile them

COPY faucet_r-*.whl /wheels/
RUN python3 -m venv /opt/faucet \
 && /opt/faucet/bin/pip install --no-cache-dir /wheels/faucet_r-*.whl \
 && ln -s /opt/faucet/bin/faucet /usr/local/bin/faucet

# Nothing runs as root. R can read the API and cannot change it; what it writes goes to /var/lib/api (mount a volume
# there to keep it) and to /tmp.
RUN useradd --system --uid 65532 --home-dir /var/lib/api --create-home api
COPY api /srv/api
WORKDIR /srv/api
USER 65532

# C.UTF-8: without it, R would read and write ASCII only. Options of Faucet are variables here, so that
# `podman run my-api --workers 8` adds to them; by default there is a worker for each CPU that the container may use.
ENV LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    FAUCET_HOST=:3838 \
    FAUCET_ADMIN=:3839 \
    FAUCET_HEADLESS=true
EXPOSE 3838 3839
STOPSIGNAL SIGTERM
# Healthy: at least one worker takes requests. It answers while all of them are busy.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3839/readyz', timeout=4)"]
# The exec form: no shell stands between the container's runtime and Faucet, so SIGTERM arrives. Allow for
# --shutdown-timeout (30 s) when you stop it: podman stop --time 45.
ENTRYPOINT ["faucet"]
