# apolo's image, or that of a bot of your own on the library: deploy/README.md.
#
# No BuildKit is needed. Both base images can be replaced, by mirrors or by what deploy/image/build makes where nothing can
# be pulled; the C library of the runtime image must not be older than the builder's.
ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot

# Every manifest of the context beside sources that say nothing: the same files for as long as no dependency changes, so
# that the layer which builds the dependencies is taken from the cache.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete && \
    find . -type d -empty -delete && \
    find . -name Cargo.toml -execdir mkdir -p src ';' \
        -execdir sh -c 'echo "//! Nothing yet." | tee src/lib.rs src/main.rs && echo "fn main() { }" >> src/main.rs' ';'

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# A stripped binary's backtraces name functions, and lose the lines within.
ENV CARGO_TARGET_DIR=/target CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=debuginfo
COPY --from=manifests /src .
# Before BOT_DIR is known, so that apolo's image and every bot's share it.
RUN if [ -f Cargo.toml ]; then cargo build --release --locked; fi

# The folder of the package to build, and the binary's name in it.
ARG BOT_DIR=.
ARG BIN=
# What stands in for sources goes, lest it stay where there are none.
RUN cargo build --release --locked --manifest-path "$BOT_DIR/Cargo.toml" && find . -name '*.rs' -delete
COPY . .
# cargo goes by times, and what stood in was younger than the sources.
RUN find . -type f -exec touch {} + && \
    bin=${BIN:-$(sed -n '0,/^name *= *"\(.*\)"/s//\1/p' "$BOT_DIR/Cargo.toml")} && \
    cargo build --release --locked --manifest-path "$BOT_DIR/Cargo.toml" --bin "$bin" && \
    mkdir -p /image/usr/local/bin /image/var/lib/apolo && \
    cp "/target/release/$bin" /image/usr/local/bin/apolo

FROM ${RUNTIME_IMAGE}
COPY --from=build /image/usr /usr
# Owned by the user, so that a fresh volume is too.
COPY --from=build --chown=65532:65532 /image/var/lib/apolo /var/lib/apolo
ENV APOLO_DATA_DIR=/var/lib/apolo APOLO_LOG_FORMAT=json
USER 65532:65532
WORKDIR /var/lib/apolo
VOLUME /var/lib/apolo
# HTTP, bots in other languages, and the other nodes.
EXPOSE 3000 3001 7400/udp
# Whether the process answers, not whether it is ready: a node that waits for the others must not be killed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/usr/local/bin/apolo", "health"]
ENTRYPOINT ["/usr/local/bin/apolo"]
