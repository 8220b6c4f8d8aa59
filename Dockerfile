# The node agent's image. Two ways to make it, with the same content:
#
#   docker build -t dragoman .                     compiles the program in a golang image
#   make build image                               takes bin/dragoman (docker build --target prebuilt)
#
# The second needs no registry at all. The order of the stages matters for that: the classic builder runs every stage
# above its target, so golang comes last. No "# syntax=" line either: it would be pulled.

ARG GO_VERSION=1.26

# What both have in common.
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

FROM golang:${GO_VERSION} AS builder
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY pkg/ pkg/
ARG VERSION=0.1.0-dev
# The flags of "make build".
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v${VERSION}" \
      -o /out/dragoman ./cmd/dragoman

FROM base
ARG VERSION=0.1.0-dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /out/dragoman /dragoman
