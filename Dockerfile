# The node agent's images, each in two ways with the same content:
#
#                          compiled in a golang image                with the programs of "make build" in bin/
#   mock devices only      docker build -t dragoman .                docker build --target prebuilt -t dragoman .
#   NVIDIA GPUs too        docker build --target nvml -t … .         docker build --target nvml-prebuilt -t … .
#
# The second way needs no registry but for GLIBC_IMAGE. The order of the stages matters for that: the classic builder
# runs every stage above its target, so those that compile come last. No "# syntax=" line either: it would be pulled.

ARG GO_VERSION=1.26
# What the NVIDIA build runs on. It loads the driver's library when it runs (dlopen), so it needs the GNU C library; the
# one it was built against, or a newer one.
ARG GLIBC_IMAGE=gcr.io/distroless/base-debian12

# What the images without NVIDIA GPUs have in common.
FROM scratch AS base
LABEL org.opencontainers.image.title="dragoman" \
      org.opencontainers.image.description="Kubernetes DRA driver: gives pods devices through ResourceClaims" \
      org.opencontainers.image.licenses="Apache-2.0"
# Root, since the kubelet's plugin directories, the CDI directory and /run belong to root. It is root without any
# capability, without a writable root and without privileges to gain: see the DaemonSet of the chart.
USER 0:0
ENTRYPOINT ["/dragoman"]

# The binary was built outside: statically linked (CGO_ENABLED=0), since there is no C library here.
FROM base AS prebuilt
ARG VERSION=0.1.0-dev
ARG REVISION=unknown
ARG BINARY=bin/dragoman
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY ${BINARY} /dragoman

# What the images for NVIDIA GPUs have in common. Nothing of NVIDIA's driver is in them: it is the node's.
FROM ${GLIBC_IMAGE} AS nvml-base
LABEL org.opencontainers.image.title="dragoman" \
      org.opencontainers.image.description="Kubernetes DRA driver: gives pods NVIDIA GPUs through ResourceClaims" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0:0
ENTRYPOINT ["/dragoman"]

FROM nvml-base AS nvml-prebuilt
ARG VERSION=0.1.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY bin/nvml/ /

FROM golang:${GO_VERSION}-bookworm AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY pkg/ pkg/

# The flags of "make build".
FROM source AS builder
ARG VERSION=0.1.0-dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags grpcnotrace \
      -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v${VERSION}" \
      -o /out/ ./cmd/dragoman

FROM source AS nvml-builder
ARG VERSION=0.1.0-dev
RUN CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags grpcnotrace \
      -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v${VERSION}" \
      -o /out/ ./cmd/dragoman github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-cdi-hook

FROM nvml-base AS nvml
ARG VERSION=0.1.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=nvml-builder /out/ /

FROM base
ARG VERSION=0.1.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /out/dragoman /dragoman
