# Everything a contributor runs, by name. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUF := go tool -modfile=tools/buf/go.mod buf
GOLANGCI := go tool -modfile=tools/lint/go.mod golangci-lint

# Scratch that no commit holds.
TMP := .tmp
# The TypeScript client.
TS := client/typescript
# The browser console.
WEB := console
# Packages with goroutines in them: the ones worth the race detector's price. The step machines have none.
RACE := ./client/... ./feed/... ./history/... ./internal/measure ./internal/workload ./leases/... ./member/... ./raftlog/pebblestore \
	./raftlog/transport ./server/...
# Hand-written Go: what gofmt looks at.
GOFILES = $(shell git ls-files --cached --others --exclude-standard '*.go' | grep -Ev '\.pb\.go$$|\.connect\.go$$')

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*## "} {printf "  %-16s %s\n", $$1, $$2}'

##
## Code from the contract
##

# Written aside first and swapped in by name, so that a failed run leaves the old code and a renamed
# proto leaves no stale file behind.
.PHONY: generate
generate: ## Generate Go from the protos (messages and Connect)
	@rm -rf $(TMP)/generated
	@$(BUF) generate -o $(TMP)/generated
	@find proto \( -name '*.pb.go' -o -name '*.connect.go' \) -delete
	@cp -R $(TMP)/generated/proto/. proto/

.PHONY: check-generate
check-generate: ## Fail if the generated Go is not what the protos say
	@rm -rf $(TMP)/generated
	@$(BUF) generate -o $(TMP)/generated
	@diff -r -x '*.proto' -x '*.binpb' -x doc.go -x '*_test.go' $(TMP)/generated/proto proto \
		|| { echo 'generated code is stale: run `make generate` and commit the result' >&2; exit 1; }

# The generator comes from the client's own node_modules: its version is that of the runtime beside it.
.PHONY: ts-generate
ts-generate: ts-install ## Generate TypeScript from the protos (messages and service descriptors)
	@rm -rf $(TMP)/generated
	@$(BUF) generate --template $(TS)/buf.gen.yaml -o $(TMP)/generated
	@rm -rf $(TS)/src/gen && cp -R $(TMP)/generated/$(TS)/src/gen $(TS)/src/gen

.PHONY: check-ts-generate
check-ts-generate: ts-install ## Fail if the generated TypeScript is not what the protos say
	@rm -rf $(TMP)/generated
	@$(BUF) generate --template $(TS)/buf.gen.yaml -o $(TMP)/generated
	@diff -r $(TMP)/generated/$(TS)/src/gen $(TS)/src/gen \
		|| { echo 'generated TypeScript is stale: run `make ts-generate` and commit the result' >&2; exit 1; }

.PHONY: proto-lint
proto-lint: ## Check the protos' style, comments and format
	@$(BUF) lint proto
	@$(BUF) format -d --exit-code proto

.PHONY: proto-format
proto-format: ## Format the protos in place
	@$(BUF) format -w proto

.PHONY: proto-breaking
proto-breaking: ## Fail if the protos break what the committed baseline promised
	@$(BUF) breaking proto --against proto/baseline.binpb

.PHONY: proto-baseline
proto-baseline: ## Make the protos of now the promise (at a release, or before the first)
	@$(BUF) build proto --exclude-source-info -o proto/baseline.binpb

.PHONY: vendor-validate
vendor-validate: ## Print third_party/protovalidate anew from its pinned Go module
	@cd internal/tools/vendorvalidate && go run .

##
## Checks
##

.PHONY: format
format: ## Format Go and protos in place
	@gofmt -w $(GOFILES)
	@$(BUF) format -w proto

.PHONY: check-format
check-format: ## Fail if a Go file is not formatted
	@stale="$$(gofmt -l $(GOFILES))"; \
		if [ -n "$$stale" ]; then printf 'not formatted (run `make format`):\n%s\n' "$$stale" >&2; exit 1; fi

.PHONY: lint
lint: check-format proto-lint ## Lint Go and protos
	@$(GOLANGCI) run

.PHONY: check-tidy
check-tidy: ## Fail if go.mod or go.sum is not what `go mod tidy` makes of it
	@mkdir -p $(TMP)
	@go mod tidy -diff > $(TMP)/tidy.diff \
		|| { grep -E '^[+-]' $(TMP)/tidy.diff | head -40; echo 'run `go mod tidy` and commit the result' >&2; exit 1; }

.PHONY: vet
vet: ## Run go vet
	@go vet ./...

.PHONY: test
test: ## Run every test
	@go test ./...

# TestStorageDamage opens a store thousands of times, one after the other: nothing there can race.
.PHONY: race
race: ## Run the concurrent packages' tests under the race detector, with the core's assertions on
	@go test -race -tags invariants -skip "^TestStorageDamage$$" $(RACE)

.PHONY: invariants
invariants: ## Run the step machines' tests with their assertions on
	@go test -tags invariants ./commands ./replica

# SEEDS=n runs seeds 1 to n, SEED=s a single one (V=1: with its whole trace), FOR=60s fresh seeds.
.PHONY: simulate
simulate: ## Run simulated clusters with faults: SEEDS=n, SEED=s [V=1] or FOR=60s
	@mkdir -p $(TMP)
	@go build -tags invariants -o $(TMP)/simulate ./internal/simulation/simulate
	@$(TMP)/simulate $(if $(SEED),-seed $(SEED) $(if $(V),-v),$(if $(FOR),-for $(FOR),-seeds $(or $(SEEDS),100)))

# A mutant that survives is a law that no test watches.
.PHONY: mutants
mutants: ## Put known bugs into the service and see the simulator find each: [MUTANT=name,...] [SEEDS=n]
	@go run ./internal/simulation/mutants $(if $(MUTANT),-only $(MUTANT)) $(if $(SEEDS),-seeds $(SEEDS))

# Without root the faults of disks are left out, and it says so.
.PHONY: chaos
chaos: ## Break real processes under load: DURATION=60s SEED=n [FAULTS=a,b] [JSON=file]
	@mkdir -p $(TMP)
	@go build -o $(TMP)/chaos ./internal/chaos/run
	@$(TMP)/chaos -duration $(or $(DURATION),60s) -seed $(or $(SEED),0) $(if $(FAULTS),-faults $(FAULTS)) $(if $(JSON),-json $(JSON))

# etcd is built in a module of its own, with the versions of its dependencies that it asks for.
.PHONY: build-etcd
build-etcd: ## Build the etcd member that bench-etcd measures
	@mkdir -p $(TMP)
	@cd bench/etcdmember && CGO_ENABLED=0 go build -trimpath -o ../../$(TMP)/etcdmember .

# `make bench-etcd-rows` lists the rows. Everything that was measured goes to JSON and MD.
.PHONY: bench-etcd
bench-etcd: build build-etcd ## Measure beside etcd: [ROWS=a,b] [ROUNDS=5] [DURATION=2s] [DIR=...] [JSON=file] [MD=file]
	@cd bench && go build -o ../$(TMP)/bench-etcd .
	@$(TMP)/bench-etcd $(if $(ROWS),-rows $(ROWS)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(DURATION),-duration $(DURATION)) \
		$(if $(DIR),-dir $(DIR)) -json $(or $(JSON),$(TMP)/bench-etcd.json) $(if $(MD),-markdown $(MD))

.PHONY: bench-etcd-rows
bench-etcd-rows: ## List the rows of bench-etcd
	@cd bench && go run . -list

.PHONY: bench-check
bench-check: ## Vet and test the comparison with etcd, without building etcd
	@cd bench && go mod tidy -diff > /dev/null && go vet ./... && go test ./...

.PHONY: cdc-check
cdc-check: ## Vet and test the program that carries changes elsewhere, a module of its own
	@cd cdc && go mod tidy -diff > /dev/null && go vet ./... && go test ./...

# Installs what package-lock.json names, if that has changed since.
.PHONY: ts-install
ts-install: $(TS)/node_modules/.package-lock.json

$(TS)/node_modules/.package-lock.json: $(TS)/package-lock.json
	@cd $(TS) && npm ci --ignore-scripts --loglevel=error && touch node_modules/.package-lock.json

.PHONY: ts-build
ts-build: ts-install ## Build the TypeScript client into client/typescript/dist
	@cd $(TS) && npm run --silent build

# The tests begin a service of their own: the binary is built from this tree.
.PHONY: ts-check
ts-check: check-ts-generate ## Check types of the TypeScript client, build it and run its tests
	@CGO_ENABLED=0 go build -trimpath -o $(TMP)/heliosmeta ./cmd/heliosmeta
	@cd $(TS) && npm run --silent typecheck && npm run --silent build && npm test --silent

.PHONY: tracing-check
tracing-check: ## Vet and run the example of tracing, a module of its own
	@cd examples/tracing && go mod tidy -diff > /dev/null && go vet ./... && go test ./...

# The console imports the TypeScript client as it is built, so that comes first.
.PHONY: console-install
console-install: ts-build $(WEB)/node_modules/.package-lock.json

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@cd $(WEB) && npm ci --ignore-scripts --loglevel=error && touch node_modules/.package-lock.json

# What it writes is in git, so that building the binary needs no Node.js.
.PHONY: console
console: console-install ## Build the browser console into console/dist, which the binary embeds
	@cd $(WEB) && npm run --silent build

.PHONY: check-console-build
check-console-build: console-install ## Fail if console/dist is not what the console's sources say
	@rm -rf $(TMP)/console-dist
	@cd $(WEB) && npm run --silent build -- --logLevel warn --outDir ../$(TMP)/console-dist --emptyOutDir
	@diff -rq $(TMP)/console-dist $(WEB)/dist \
		|| { echo 'the built console is stale: run `make console` and commit the result' >&2; exit 1; }

# The browser tests begin services of their own, of this tree, and need Chromium: CHROMIUM, or /usr/bin/chromium.
.PHONY: console-check
console-check: check-console-build ## Check types of the console and what was built, and test it in a browser
	@CGO_ENABLED=0 go build -trimpath -o $(TMP)/heliosmeta ./cmd/heliosmeta
	@cd $(WEB) && npm run --silent typecheck && npm test --silent

# Both versions are built first and run in turn, so that a machine whose speed drifts treats both alike.
.PHONY: benchstat
benchstat: ## Compare Go benchmarks with those of another commit: PKG=./commands [BASE=main] [BENCH=.] [COUNT=10]
	@rm -rf $(TMP)/benchstat && mkdir -p $(TMP)/benchstat && git worktree prune
	@git worktree add -q --detach $(TMP)/benchstat/base $(or $(BASE),main)
	@trap 'git worktree remove --force $(TMP)/benchstat/base' EXIT; \
	out=$(CURDIR)/$(TMP)/benchstat; \
	(cd $(TMP)/benchstat/base && go test -c -o $$out/before.test $(PKG)); go test -c -o $$out/after.test $(PKG); \
	for i in $$(seq $(or $(COUNT),10)); do for side in before after; do \
		(cd $(PKG) && $$out/$$side.test -test.run '^$$' -test.bench '$(or $(BENCH),.)' -test.benchmem >> $$out/$$side.txt); \
	done; done; \
	go tool -modfile=tools/go.mod benchstat $$out/before.txt $$out/after.txt

.PHONY: fuzz
fuzz: ## Run every fuzz target in turn, each for FUZZTIME (10s)
	@.ci/fuzz $(or $(FUZZTIME),10s)

.PHONY: examples-check
examples-check: ## Check the documents of examples/ (types, keys, ranges, placement)
	@go test -count=1 ./examples

.PHONY: ci
ci: ## Run everything that .ci/run runs
	@.ci/run

##
## Binary
##

.PHONY: build
build: ## Build bin/heliosmeta and bin/heliosmeta-cdc
	@CGO_ENABLED=0 go build -trimpath -o bin/heliosmeta ./cmd/heliosmeta
	@cd cdc && CGO_ENABLED=0 go build -trimpath -o ../bin/heliosmeta-cdc ./cmd/heliosmeta-cdc

.PHONY: install
install: ## Install both into GOBIN
	@CGO_ENABLED=0 go install -trimpath ./cmd/heliosmeta
	@cd cdc && CGO_ENABLED=0 go install -trimpath ./cmd/heliosmeta-cdc

.PHONY: clean
clean: ## Delete what builds and checks left behind
	@rm -rf bin $(TMP) coverage.out
