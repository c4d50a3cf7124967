# Chancery. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO            ?= go
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BENCHSTAT     ?= golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK   ?= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# VERSION is what `chancery version` prints; outside a git checkout it is "dev".
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 2m
BENCH    ?= .

# RACE leaves two things out of the race detector that make tests take four times
# as long, and where nothing is found. SQLite is C turned into Go, and each
# connection has a memory of its own that one goroutine uses at a time. And the
# standard library's ciphers and hashes, which seal keys in many rounds.
RACE := -race -gcflags=github.com/ncruces/go-sqlite3-wasm/...=-race=false -gcflags=crypto/internal/...=-race=false

# Without this, the race detector sleeps for a second at the end of each process.
export GORACE ?= atexit_sleep_ms=0

export GO GOLANGCI_LINT GOVULNCHECK BENCHSTAT

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the static binary bin/chancery and the key helpers (PKCS#11 with a C compiler)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X chancery/internal/cli.version=$(VERSION)' -o bin/chancery ./cmd/chancery
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/chancery-key-awskms ./cmd/chancery-key-gcpkms
	@if command -v "$$($(GO) env CC)" >/dev/null; then $(MAKE) --no-print-directory helper; \
	else echo "There is no C compiler, so the PKCS#11 helper is not built."; fi

.PHONY: helper
helper: ## Build bin/chancery-key-pkcs11, for keys in HSMs; needs a C compiler
	cd cmd/chancery-key-pkcs11 && CGO_ENABLED=1 $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/chancery-key-pkcs11 .

.PHONY: run
run: build ## Create a CA in ./chancery-ca if there is none, and serve it
	bin/chancery up

##@ Test

.PHONY: test
test: deps ## Everything: install what tests need, lint, fuzz briefly, race tests, real clients
	$(MAKE) --no-print-directory -j 2 --output-sync=target lint race outside brief-fuzz e2e vuln

.PHONY: race
race: ## The Go tests beside the code, with the race detector
	CGO_ENABLED=1 scripts/gotest $(RACE) -timeout 10m ./client/... ./cmd/... ./internal/...
	cd cmd/chancery-key-pkcs11 && CGO_ENABLED=1 ../../scripts/gotest -race -timeout 8m ./...

.PHONY: outside
outside: deps ## Tests of the running program: faults, and what the documents say
	CGO_ENABLED=1 scripts/gotest $(RACE) -timeout 10m ./test/...

.PHONY: brief-fuzz
brief-fuzz:
	FUZZTIME=300ms scripts/fuzz

.PHONY: unit
unit: ## The Go tests of this module only, without the race detector
	scripts/gotest -timeout 8m ./...

.PHONY: e2e
e2e: deps ## Real clients (certbot, lego, Caddy and others) against a real server
	cd test/e2e && CGO_ENABLED=1 ../../scripts/gotest -race -count=1 -parallel 6 -timeout 8m ./...

.PHONY: lint
lint: ## go vet and golangci-lint, on all modules
	scripts/lint

.PHONY: vuln
vuln: ## Look for known vulnerabilities in what is linked in
	scripts/vuln

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (2m)
	FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: bench
bench: ## Run the benchmarks that match BENCH (all); BASE=REF compares with that
	scripts/bench '$(BENCH)' '$(BASE)'

.PHONY: sizing
sizing: ## Measure the tables of docs/sizing.md here; SIZING="-stored 1000000" and other flags
	$(GO) run ./test/load/sizing $(SIZING)

.PHONY: cover
cover: ## Measure test coverage; writes bin/cover.html
	@mkdir -p bin
	$(GO) test -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: deps
deps: ## Install the Debian packages that the tests need, when missing
	scripts/install-test-deps

##@ Tidy

.PHONY: fmt
fmt: ## Format all Go code
	gofmt -w cmd internal test

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
