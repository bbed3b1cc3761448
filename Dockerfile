# The image of the host: `docker build -t tidemill .` (BuildKit). How to run it: docs/containers.md
#
# What is in it is put together by ops/image/rootfs.sh, which tests/real/test_image.py runs as well: the test starts
# what the last stage here copies, with the settings that stand there.

# An official image, in the version of rust-toolchain.toml. It can be pinned further, or come from a mirror:
# --build-arg RUST_IMAGE=rust@sha256:…
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm

FROM ${RUST_IMAGE} AS build
# librdkafka and its OpenSSL are built with these. No versions: Debian's archive keeps only the newest of a release,
# and none of them is in the image. ca-certificates is, and is to be the newest.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ make perl \
    && rm -rf /var/lib/apt/lists/*
# rust-toolchain.toml stays outside: it would have rustup fetch what only development needs.
RUN rustup target add wasm32-wasip2
WORKDIR /src
COPY . .
ARG TARGETARCH
# The caches outlive a build, so a small change builds this workspace's crates only. What is kept is copied out of
# them. The transforms are built by the command that users have.
RUN --mount=type=cache,id=tidemill-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=tidemill-target-${TARGETARCH},target=/src/target,sharing=locked \
    cargo build --locked --release --package tidemill \
    && target/release/tidemill build transforms --out /out/transforms \
    && ops/image/rootfs.sh target/release/tidemill /out/transforms /out/root \
    && mkdir -p /out/empty

# No shell, no package manager, nothing that the host does not need.
FROM scratch
ARG VERSION=development
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidemill" \
      org.opencontainers.image.description="A Kafka topic in your lake: sandboxed WebAssembly transforms, Parquet on S3, tables in AWS Glue" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/root/ /
COPY --from=build /out/transforms/ /transforms/
# All that it writes: the socket of `tidemill status`, and compiled transforms, which may be lost.
COPY --from=build --chown=65532:65532 /out/empty/ /tmp/
COPY --from=build --chown=65532:65532 /out/empty/ /var/cache/tidemill/
# As volumes they can be written where the rest cannot, and keep their owner (on ECS as well).
VOLUME ["/tmp", "/var/cache/tidemill"]
# librdkafka's OpenSSL would look for certificates where a build of its own has them.
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    TIDEMILL_TRANSFORMS=/transforms \
    TIDEMILL_CACHE=/var/cache/tidemill
# A tidemill.toml that is mounted here is read.
WORKDIR /etc/tidemill
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/tidemill", "health"]
ENTRYPOINT ["/usr/local/bin/tidemill"]
CMD ["run"]
