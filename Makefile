# The commands of this project; make help lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARGS    ?=
TOOL     = $(GO) tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help dev build package release test test-fast test-loaded fuzz test-backlog test-cluster test-rules lint fmt bench fleet chaos services-up services-down clean need-go

help: ## List the commands
	@echo "tasker: make COMMAND [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: need-go ## Run the whole system in one process, with nothing to install
	$(GO) run -ldflags '-X main.version=$(VERSION)' ./cmd/tasker dev $(ARGS)

build: need-go ## Build bin/tasker
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tasker ./cmd/tasker

package: need-go ## Make a Debian package in dist (ARGS: amd64 or arm64)
	@scripts/package.sh $(ARGS)

release: need-go ## Make the programs and packages of a release in dist, with checksums
	@scripts/release.sh

test: need-go ## Run all tests, with the race detector, RabbitMQ and MariaDB (ARGS: for go test)
	@scripts/test.sh $(ARGS)

test-fast: need-go ## Run the tests that need no services
	$(GO) test ./... $(ARGS)

test-loaded: need-go ## Run all tests three times on busy cores (ARGS="-n 5 ./manager")
	@scripts/test-loaded.sh $(ARGS)

test-cluster: need-go ## Run the tests on three RabbitMQ nodes that are killed and frozen (ARGS: for go test)
	@scripts/test-cluster.sh $(ARGS)

test-browser: need-go ## Test the dashboard in Chromium (ARGS: for go test)
	@scripts/test-browser.sh $(ARGS)

test-rules: ## Test the alerts for Prometheus
	@scripts/test-rules.sh

fuzz: need-go ## Run every fuzz target for 10 s (ARGS: number of seconds)
	@scripts/fuzz.sh $(ARGS)

lint: need-go ## Run all static checks: format, vet, golangci-lint, shellcheck, go.mod
	@scripts/lint.sh

fmt: need-go ## Format the code
	$(TOOL) golangci-lint fmt ./...

test-backlog: need-go ## Test 50,000 tasks that wait for an endpoint that is down
	@TASKER_TEST_BACKLOG=50000 TEST_TIMEOUT=60m scripts/test.sh -v -run TestBacklog ./test/e2e

bench: need-go ## Measure tasker, and what the broker and the database alone can do
	@scripts/bench.sh $(ARGS)

fleet: need-go ## Run a whole fleet and measure it (ARGS="-endpoints 10000")
	@scripts/fleet.sh $(ARGS)

chaos: need-go ## Test the guarantees under faults, for 3 minutes (ARGS="-seeds 10")
	@scripts/chaos.sh $(ARGS)

services-up: ## Start private RabbitMQ and MariaDB servers and leave them running
	@scripts/services.sh up

services-down: ## Stop the private servers
	@scripts/services.sh down

clean: services-down ## Remove build results and the private servers' files
	rm -rf bin dist .cache .services

need-go:
	@command -v $(GO) >/dev/null 2>&1 || \
		{ echo 'make: "$(GO)" not found: install Go 1.21 or newer (https://go.dev/dl/); it fetches the version in go.mod' >&2; exit 1; }
