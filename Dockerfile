# One image for the API, the worker and the migrations; the command says which.

FROM python:3.11-slim AS build
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv
WORKDIR /app
# The dependencies first: they change less often than the code, so this layer is mostly cached.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /app durabill
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY pyproject.toml uv.lock settings.py worker.py cli.py app.py ./
COPY billing billing
COPY models models
COPY adapters adapters
COPY operations operations
COPY activities activities
COPY workflows workflows
COPY api api
COPY web web
COPY migrations migrations
COPY devstack devstack
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER durabill
EXPOSE 8000
ENTRYPOINT ["python", "-m", "cli"]
CMD ["api"]
