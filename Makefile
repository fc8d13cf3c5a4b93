# The commands of this project; make help lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARGS    ?=
TOOL     = $(GO) tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help dev build test test-fast test-loaded fuzz test-backlog test-cluster lint fmt bench chaos services-up services-down clean need-go

help: ## List the commands
	@echo "tasker: make COMMAND [ARGS=...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: need-go ## Run the whole system in one process, with nothing to install
	$(GO) run -ldflags '-X main.version=$(VERSION)' ./cmd/tasker dev $(ARGS)

build: need-go ## Build bin/tasker
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/tasker ./cmd/tasker

test: need-go ## Run all tests, with the race detector, RabbitMQ and MariaDB (ARGS go to go test)
	@scripts/test.sh $(ARGS)

test-fast: need-go ## Run the tests that need no services
	$(GO) test ./... $(ARGS)

test-loaded: need-go ## Run all tests three times on busy cores (ARGS="-n 5 ./manager")
	@scripts/test-loaded.sh $(ARGS)

test-cluster: need-go ## Run the tests against three RabbitMQ nodes that die and freeze (ARGS go to go test)
	@scripts/test-cluster.sh $(ARGS)

fuzz: need-go ## Run every fuzz target for 10 s (ARGS: another number of seconds)
	@scripts/fuzz.sh $(ARGS)

lint: need-go ## Check formatting, imports, layout, shell scripts and go.mod
	@scripts/lint.sh

fmt: need-go ## Format the code
	$(TOOL) golangci-lint fmt ./...

test-backlog: need-go ## Have 50,000 tasks wait for an endpoint that is away, and come back
	@TASKER_TEST_BACKLOG=50000 TEST_TIMEOUT=60m scripts/test.sh -v -run TestBacklog ./test/e2e

bench: need-go ## Measure tasker beside the broker's and the database's ceiling
	@scripts/bench.sh $(ARGS)

chaos: need-go ## Prove the guarantees under faults, for 3 minutes (ARGS="-seeds 10")
	@scripts/chaos.sh $(ARGS)

services-up: ## Start private RabbitMQ and MariaDB servers and leave them running
	@scripts/services.sh up

services-down: ## Stop them
	@scripts/services.sh down

clean: services-down ## Remove what was built, and the test services' files
	rm -rf bin .cache .services

need-go:
	@command -v $(GO) >/dev/null 2>&1 || \
		{ echo 'make: there is no "$(GO)" on the PATH: install Go (https://go.dev/dl/), any version from 1.21 on fetches the one that go.mod asks for' >&2; exit 1; }
