# The service and the one-shot in one image:
#   docker build -t muse-ai-backend .
#   docker run --rm -e DATABASE_URL=... muse-ai-backend                     serve on port 8000
#   docker run --rm -e DATABASE_URL=... muse-ai-backend python -m dbinit    create the schema and end
#
# A tag can be moved; a digest cannot. To pin by digest, take it from
#   docker buildx imagetools inspect python:3.13.15-slim-trixie
# and write python:3.13.15-slim-trixie@sha256:... below.
ARG PYTHON=python:3.13.15-slim-trixie

FROM ${PYTHON} AS builder
WORKDIR /src
# The environment gets no pip of its own: nothing is installed into it after this stage.
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml README.md LICENSE ./
COPY dbinit ./dbinit
# Bytecode is written here, as the root file system is read-only later on.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --compile ".[fastapi]"

FROM ${PYTHON}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MIGRATION_PATH=/srv/scripts/init-db.sql
RUN groupadd --gid 10001 muse \
    && useradd --uid 10001 --gid muse --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin muse
COPY --from=builder /opt/venv /opt/venv
WORKDIR /srv
COPY scripts ./scripts
COPY app ./app
# By number: Kubernetes cannot tell from a name that it is not root (runAsNonRoot).
USER 10001:10001
EXPOSE 8000
# http.client and not urlopen: that would ask a proxy named in the environment. Any status but 200 exits with 1.
# The start period is the longest honest start: 2 min to connect, 5 min for the lock, 3 min for the SQL, and a margin.
HEALTHCHECK --interval=10s --timeout=3s --start-period=660s --start-interval=1s --retries=3 \
    CMD ["python", "-I", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
# Requests under way get 20 s to end; whoever stops the container should wait longer than that.
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "20"]
