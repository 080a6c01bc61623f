# The image of one kvnode: a static binary FROM scratch, no shell, no libc, nothing else.
#
#   docker build -t ordeal/kvnode .     compiles inside an ordinary Rust image
#   ci/image                            compiles outside and pulls no image at all
#
# Everything the image says about itself stands in the first stage, so that both ways
# give the same image. Older Docker (before 23, without BuildKit) builds every stage up
# to the one asked for; the Rust image therefore comes after it.

ARG RUST_IMAGE=rust:1.95-slim-bookworm

# ---- runtime: the image without a compiler in sight.
# `bin/kvnode` is there only in the build context that ci/image puts together; in a
# plain checkout the pattern matches nothing, which COPY allows beside a file that exists.
FROM scratch AS runtime
COPY LICENSE-APACHE LICENSE-MIT bin/kvnod[e] /
LABEL org.opencontainers.image.title="kvnode" \
      org.opencontainers.image.description="The replicated key-value store that Ordeal puts to the test" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# 8000 speaks HTTP to clients, 9000 Raft to the other nodes.
EXPOSE 8000 9000
# A polite stop; kvnode must survive an impolite one (SIGKILL) just as well.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/kvnode"]

# ---- build: the binary from source.
FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Which cargo features: empty for the store as it is, `planted-bugs` for one to be caught.
ARG FEATURES=
# glibc is linked in, since the final image has none.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# Dependencies first: this layer is rebuilt only when a manifest or the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY checker/Cargo.toml checker/
COPY checker/browser/Cargo.toml checker/browser/
COPY kvnode/Cargo.toml kvnode/
COPY nemesis/Cargo.toml nemesis/
COPY workloads/Cargo.toml workloads/
RUN set -eu; \
    for crate in checker checker/browser kvnode nemesis workloads; do \
        mkdir -p $crate/src; \
        echo 'fn main() {}' >$crate/src/main.rs; \
        : >$crate/src/lib.rs; \
    done; \
    cargo build --release --locked -p kvnode --features "$FEATURES" \
        --target "$(rustc -vV | sed -n 's/^host: //p')"

COPY kvnode kvnode
# The stubs above are newer than the sources copied over them, by cargo's reckoning.
RUN set -eu; \
    touch kvnode/src/lib.rs kvnode/src/main.rs; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    cargo build --release --locked -p kvnode --features "$FEATURES" --target "$target"; \
    strip --strip-debug -o /kvnode "target/$target/release/kvnode"; \
    /kvnode --version

# ---- the image.
FROM runtime
COPY --from=build /kvnode /kvnode
