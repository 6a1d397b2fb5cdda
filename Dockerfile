# syntax=docker/dockerfile:1
# One image for every part; docker-compose.yml names the part as the command.
FROM python:3.12.12-slim-bookworm AS build
WORKDIR /build
COPY requirements/production.lock requirements/production.lock
RUN python -m venv /opt/forewarn \
    && /opt/forewarn/bin/pip install --no-cache-dir --require-hashes -r requirements/production.lock
COPY pyproject.toml README.md LICENSE ./
COPY producers producers
COPY streams streams
COPY analytics analytics
COPY forewarn forewarn
RUN /opt/forewarn/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12.12-slim-bookworm
# A number, not a name: Kubernetes' runAsNonRoot can check it. The volume's folder is made here, so it is ours.
RUN groupadd --gid 10001 forewarn \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin forewarn \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/forewarn
COPY --from=build /opt/forewarn /opt/forewarn
ENV PATH=/opt/forewarn/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FOREWARN_DATA_DIR=/var/lib/forewarn
USER 10001:10001
VOLUME /var/lib/forewarn
STOPSIGNAL SIGTERM
ENTRYPOINT ["forewarn"]
CMD ["--help"]
