# Every verb does its own set-up and reuses what is there. "make help" lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION    ?= 0.1.0-dev
# The Kubernetes version of the kind nodes; e2e/nodeimage knows which there are.
KUBERNETES ?= v1.34.3
# The kind configuration of "make demo"; deployments/kind has some with more feature gates. Empty: one of each node.
KIND_CONFIG ?=
# The kind clusters of "make demo" (and kind-up) and of the tests.
CLUSTER     ?= dragoman
E2E_CLUSTER ?= dragoman-e2e
# KEEP=1 leaves the cluster of the tests up.
KEEP ?=

CACHE ?= $(or $(DRAGOMAN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dragoman)
TOOLS := $(CACHE)/tools
HELM  := $(TOOLS)/helm-v4.3.1
LINT  := $(TOOLS)/golangci-lint-v2.15.0
VULN  := $(TOOLS)/govulncheck-v1.9.0
# Another database of known vulnerabilities than https://vuln.go.dev; file:///… too.
VULNDB ?=

# The warnings are about the headers of NVIDIA's library.
export CGO_CFLAGS ?= -g -O2 -w

MODULES := . e2e e2e/nodeimage
LDFLAGS := -s -w -X k8s.io/component-base/version.gitVersion=v$(VERSION)
CDI_HOOK := github.com/NVIDIA/nvidia-container-toolkit/cmd/nvidia-cdi-hook
# Without gRPC's tracing pages, which nothing here serves: their templates call methods by names that the linker cannot
# know, so that it would keep every method of every type. That is a third of the program.
TAGS := grpcnotrace
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags $(TAGS)
# What the tests have shown of the fault table.
MATRIX  := bin/matrix
RESULTS := bin/results
# Rooms with tests that need the points at which a test build fails or dies.
FAILPOINTS := ./pkg/dir ./pkg/failpoint ./pkg/checkpoint ./pkg/cdi ./pkg/prepare
DEMO     = bin/demo --cache $(CACHE) --helm $(HELM) --kubernetes $(KUBERNETES)
# What the tests on a cluster need to know.
E2E_ENV  = DRAGOMAN_CACHE=$(CACHE) HELM=$(HELM) NODEIMAGE=$(CURDIR)/bin/nodeimage

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##
.PHONY: demo demo-down
demo: build $(HELM) ## kind cluster, driver with made-up GPUs, one example pod; prints what it sees
	@$(DEMO) --name $(CLUSTER) --config "$(KIND_CONFIG)" up
	@$(DEMO) --name $(CLUSTER) show

demo-down: build ## all of it away again; only the cache stays
	@$(DEMO) --name $(CLUSTER) down

.PHONY: kind-up kind-down
kind-up: build $(HELM) ## the cluster with the driver, without an example
	@$(DEMO) --name $(CLUSTER) --config "$(KIND_CONFIG)" up

kind-down: demo-down ## same as demo-down

.PHONY: test
test: lint unit e2e features vuln ## everything: lint, unit, process and end-to-end tests, vuln; ends with the table of faults
	@$(MATRIX) features README.md $(RESULTS)/e2e $(RESULTS)/features-*
	@$(MATRIX) print $(RESULTS)/unit $(RESULTS)/e2e

.PHONY: lint
lint: $(LINT) $(HELM) ## formatting, linters, tidy modules, the chart
	@for m in $(MODULES); do \
	  echo "lint $$m"; \
	  (cd $$m && go vet ./... && go mod tidy -diff && $(LINT) run --config $(CURDIR)/.golangci.yaml ./...); \
	done
	@$(LINT) run --config .golangci.yaml --build-tags failpoints $(FAILPOINTS)
	@$(HELM) lint --strict --quiet deployments/helm/dragoman
	@$(HELM) lint --strict --quiet -f deployments/helm/dragoman/values-nvml.yaml deployments/helm/dragoman

.PHONY: vuln
vuln: gcc $(VULN) ## known vulnerabilities in what programs and tests call; checks nothing, and says so, without the database
	@unreachable=; failed=; \
	for m in $(MODULES); do \
	  echo "vuln $$m"; code=0; \
	  said=$$(cd $$m && $(VULN) $(addprefix -db=,$(VULNDB)) -test ./... 2>&1) || code=$$?; \
	  case "$(VULNDB)$$code $$said" in \
	    "1 "*"govulncheck: fetching vulnerabilities:"*) unreachable=$$said; break;; \
	    *) echo "$$said"; [ $$code = 0 ] || failed="$$failed $$m";; \
	  esac; \
	done; \
	[ -z "$$failed" ] || { echo "vulnerabilities, or no answer, in:$$failed" >&2; exit 1; }; \
	[ -z "$$unreachable" ] || \
	  echo "WARNING: NOT CHECKED for known vulnerabilities, their database does not answer: $$unreachable" >&2

.PHONY: unit
unit: gcc matrix ## unit tests with the race detector
	@rm -f $(RESULTS)/unit
	go test -json -race ./... | $(MATRIX) record $(RESULTS)/unit
	go test -json -tags failpoints $(FAILPOINTS) | $(MATRIX) record $(RESULTS)/unit
	CGO_ENABLED=0 go test ./cmd/...
	cd e2e/nodeimage && go test ./...
	@$(MATRIX) print -part $(RESULTS)/unit

.PHONY: e2e
e2e: build build-nvml build-fake build-failpoints build-race matrix strace $(HELM) ## process and end-to-end tests on a kind cluster of their own
	@trap '[ -n "$(KEEP)" ] || $(DEMO) --name $(E2E_CLUSTER) down' EXIT; \
	$(DEMO) --name $(E2E_CLUSTER) up; \
	eval "$$(bin/nodeimage env --cache $(CACHE) --name $(E2E_CLUSTER))"; \
	$(HELM) test dragoman --namespace dragoman; \
	export CLUSTER=$(E2E_CLUSTER) $(E2E_ENV) KIND_CONFIG= DRAGOMAN_BIN=$(CURDIR)/bin/dragoman; \
	export DRAGOMAN_FAILPOINTS_BIN=$(CURDIR)/bin/failpoints/dragoman DRAGOMAN_RACE_BIN=$(CURDIR)/bin/race/dragoman; \
	export DRA_SANITY_BIN=$(CURDIR)/bin/dra-sanity; \
	rm -f $(RESULTS)/e2e; \
	(cd e2e && go test -json -count=1 -p 1 -timeout 40m ./...) | $(MATRIX) record $(RESULTS)/e2e; \
	$(MATRIX) print -part $(RESULTS)/e2e

# The other clusters of the feature table: release, configuration of kind if it is not the default, and which tests.
FEATURE_CLUSTERS := 1.34-gates 1.37 1.37-gates
features-1.34-gates: override KUBERNETES = v1.34.3
features-1.34-gates: override KIND_CONFIG = deployments/kind/gates-1.34.yaml
features-1.34-gates: override TESTS = ^Test(Features|ThousandPartitionableDevices)$$
features-1.37: override KUBERNETES = v1.37.2
features-1.37: override KIND_CONFIG =
features-1.37: override TESTS = ^Test(Features|ThousandPartitionableDevices|SideBySide|Desk|PendingReasons)$$
features-1.37-gates: override KUBERNETES = v1.37.2
features-1.37-gates: override KIND_CONFIG = deployments/kind/gates-1.37.yaml
features-1.37-gates: override TESTS = ^TestFeatures$$

.PHONY: features $(FEATURE_CLUSTERS:%=features-%)
features: $(FEATURE_CLUSTERS:%=features-%) ## the DRA API on other releases of Kubernetes and with more gates, a cluster each; features-1.37 is one

$(FEATURE_CLUSTERS:%=features-%): build matrix $(HELM)
	@name=dragoman-$(subst .,-,$@); trap '[ -n "$(KEEP)" ] || $(DEMO) --name '$$name' down' EXIT; \
	$(DEMO) --name $$name --config "$(KIND_CONFIG)" up; \
	eval "$$(bin/nodeimage env --cache $(CACHE) --name $$name)"; \
	export CLUSTER=$$name $(E2E_ENV) KIND_CONFIG=$(addprefix $(CURDIR)/,$(KIND_CONFIG)); \
	rm -f $(RESULTS)/$@; \
	(cd e2e && go test -json -count=1 -timeout 30m -run '$(TESTS)' ./cluster) | $(MATRIX) record $(RESULTS)/$@

.PHONY: features-table
features-table: matrix ## writes the README's table of features from the results of "make e2e features"
	@$(MATRIX) features -update README.md $(RESULTS)/e2e $(RESULTS)/features-*

.PHONY: matrix
matrix: # counts which rows of the fault table the tests have shown
	@cd e2e && $(GOBUILD) -o $(CURDIR)/$(MATRIX) ./matrix

.PHONY: gpu-check
gpu-check: build-nvml ## on a machine with NVIDIA GPUs: what the backend sees and does there; changes nothing (ARGS=--help)
	@go run ./cmd/gpucheck --cdi-hook $(CURDIR)/bin/nvml/nvidia-cdi-hook $(ARGS)

.PHONY: bench
bench: build strace ## how fast dragoman is, beside a driver that does nothing; under 15 minutes; writes e2e/bench/RESULTS.md
	@cd e2e && $(GOBUILD) -o $(CURDIR)/bin/ ./bench ./noopdriver
	@bin/bench

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s)
	@go list -f '{{.Dir}}' ./... | while read -r dir; do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$dir/*_test.go 2>/dev/null | cut -d' ' -f2); do \
	    echo "$$f in $$dir"; (cd $$dir && go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 10x .); \
	  done; \
	done

.PHONY: generate verify
generate: ## rewrites golden files and JSON schemas from the code
	go test $$(grep -rlE 'flag.Bool."update"' --include=*_test.go api cmd pkg | xargs -n1 dirname | sort -u | sed 's,^,./,') -update

verify: generate ## fails if generate changes anything
	git diff --exit-code

.PHONY: build build-nvml image image-nvml
build: ## the programs, into bin/
	@$(GOBUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	@cd e2e/nodeimage && $(GOBUILD) -o $(CURDIR)/bin/nodeimage .
	@cd e2e && $(GOBUILD) -o $(CURDIR)/bin/ ./demo ./busybox

.PHONY: install kubectl-dra kubectl-dra-archives
kubectl-dra: # the plugin of kubectl alone, into bin/
	@$(GOBUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/kubectl-dra

# Where "make install" puts things: PREFIX/bin if that is said, else where "go install" does.
BINDIR ?= $(if $(PREFIX),$(PREFIX)/bin,$(or $(shell go env GOBIN),$(firstword $(subst :, ,$(shell go env GOPATH)))/bin))
install: kubectl-dra ## "kubectl dra" with its completion, into GOBIN, or PREFIX/bin with PREFIX=/usr/local
	@mkdir -p "$(DESTDIR)$(BINDIR)" && install -m 0755 bin/kubectl-dra "$(DESTDIR)$(BINDIR)/kubectl-dra"
	@ln -sf kubectl-dra "$(DESTDIR)$(BINDIR)/kubectl_complete-dra"
	@echo "installed $(DESTDIR)$(BINDIR)/kubectl-dra, and kubectl_complete-dra, with which kubectl completes"
	@case ":$$PATH:" in *":$(BINDIR):"*) echo "try: kubectl dra --help";; \
	  *) echo "kubectl finds it once that is on your PATH: export PATH=\"$(BINDIR):\$$PATH\"";; esac

# What the manifest for krew says of a release: where the archives are, and for which platforms there are any.
RELEASES  ?= https://example.com/dragoman/releases/download
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
kubectl-dra-archives: ## "kubectl dra" for each platform, and its manifest for krew, into bin/krew/
	@rm -rf bin/krew && mkdir -p bin/krew
	@sed -e '/^#/d; s,RELEASES,$(RELEASES),; s,VERSION,$(VERSION),g' deployments/krew/dra.yaml > bin/krew/dra.yaml
	@for p in $(PLATFORMS); do \
	  os=$${p%/*}; arch=$${p#*/}; dir=bin/krew/$${os}_$$arch; archive=kubectl-dra_v$(VERSION)_$${os}_$$arch.tar.gz; \
	  mkdir $$dir; cp LICENSE $$dir/; \
	  GOOS=$$os GOARCH=$$arch $(GOBUILD) -ldflags '$(LDFLAGS)' -o $$dir/ ./cmd/kubectl-dra; \
	  tar -C $$dir --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c $$(ls $$dir) | gzip -n > bin/krew/$$archive; \
	  sum=$$(sha256sum bin/krew/$$archive); echo "$${sum%% *}  $$archive" | tee -a bin/krew/SHA256SUMS; \
	  sed -i "s,SHA256_$${os}_$$arch,$${sum%% *}," bin/krew/dra.yaml; rm -r $$dir; \
	done

build-nvml: gcc ## the programs for nodes with NVIDIA GPUs, into bin/nvml/; they need cgo and glibc
	@mkdir -p bin/nvml
	@CGO_ENABLED=1 go build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/nvml/ \
	  ./cmd/dragoman $(CDI_HOOK)

.PHONY: build-fake
build-fake: gcc # a library and a driver's directory that behave like NVIDIA's, and an image with glibc; for the tests
	@cd e2e && CGO_ENABLED=1 go build -trimpath -buildvcs=false -buildmode=c-shared \
	  -ldflags '-s -w -extldflags -Wl,-soname,libnvidia-ml.so.1' -o $(CURDIR)/bin/libnvidia-ml.so.1 ./mocknvml
	@rm -f bin/libnvidia-ml.so.h bin/libnvidia-ml.so.1.h
	@cd e2e && $(GOBUILD) -o $(CURDIR)/bin/ ./fakedriver ./glibc

.PHONY: build-race
build-race: gcc # the driver with the race detector, and from the packages that the unit tests have built
	@CGO_ENABLED=1 go build -race -buildvcs=false -o bin/race/ ./cmd/dragoman

.PHONY: build-failpoints
build-failpoints: # the driver that a test can let fail or die between any two of its steps
	@$(GOBUILD) -tags failpoints,$(TAGS) -ldflags '$(LDFLAGS)' -o bin/failpoints/ ./cmd/dragoman

image-nvml: build-nvml ## the same for NVIDIA GPUs, dragoman:$(VERSION)-nvml, with the binaries of bin/nvml/
	docker build --target nvml-prebuilt -t dragoman:$(VERSION)-nvml .

image: build ## the driver's image, dragoman:$(VERSION), with the binary of bin/
	docker build --target prebuilt -t dragoman:$(VERSION) .

.PHONY: strace
strace: # counts system calls
	@command -v strace >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq strace; }

.PHONY: gcc
gcc: # the race detector needs a C compiler
	@command -v gcc >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev; }

$(HELM): PACKAGE := helm.sh/helm/v4/cmd/helm@v4.3.1
$(LINT): PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
$(VULN): PACKAGE := golang.org/x/vuln/cmd/govulncheck@v1.9.0
$(HELM) $(LINT) $(VULN):
	@echo " • building $(notdir $@) (once, a few minutes)"
	@mkdir -p $(TOOLS)/new && GOBIN=$(TOOLS)/new CGO_ENABLED=0 go install $(PACKAGE) && mv $(TOOLS)/new/$(firstword $(subst -v, ,$(notdir $@))) $@
