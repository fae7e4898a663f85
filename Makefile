# SPDX-License-Identifier: Apache-2.0
# `make` lists what there is to do. The two that matter: `make demo` and `make test`.
SHELL := bash
.DELETE_ON_ERROR:

BIN     := node_modules/.bin
MODULE  := build/metadata_exchange.wasm
SOURCES := $(shell find assembly -name '*.ts') asconfig.json tools/asc tools/ascii.js

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: packages envoy $(MODULE) ## Two real Envoys tell each other who they are (KEEP=1 leaves them running)
	@$(BIN)/tsx tools/demo.ts

.PHONY: test
test: packages envoys $(MODULE) build/codecs.wasm build/reader.wasm build/bench/floor.wasm certificates ## Every test, on real Envoys, as processes, in containers and in network namespaces
	@tools/install-docker.sh
	@tools/install-tools.sh ip iptables setpriv curl
	@echo "==> tests"
	@$(BIN)/vitest run $(TESTS)

.PHONY: test-istio
test-istio: packages envoy image .cache/go/crane istio-programs ## The image, the resources and the exchange on Istio's own code
	@echo "==> tests on Istio"
	@ISTIO=1 $(BIN)/vitest run $(TESTS)

.PHONY: soak
soak: packages envoy $(MODULE) ## A million requests, hostile ones too, and what memory does (REQUESTS=n; BRIDGE=1)
	@$(BIN)/tsx tools/soak.ts

.PHONY: fuzz
fuzz: packages $(MODULE) build/codecs.wasm ## Two million hostile inputs (INPUTS=n; SEED=n; TARGET=streams; HEX=...; KEEP=1)
	@$(BIN)/tsx test/fuzz/fuzz.ts

.PHONY: fuzz-bugs
fuzz-bugs: packages ## Plants bugs in a copy of the tree, one at a time: the fuzzer must find each
	@$(BIN)/tsx test/fuzz/bugs.ts

.PHONY: flood
flood: packages $(MODULE) ## What a flood of new peers costs, and one of colliding hashes
	@$(BIN)/tsx bench/flood.ts

.PHONY: bench
bench: packages envoy $(MODULE) build/bench/empty.wasm build/bench/floor.wasm ## What it costs, beside other ways to do the same (ROUNDS=n; CASES=...; DOCS=1)
	@tools/install-h2load.sh
	@$(BIN)/tsx bench/bench.ts

.PHONY: build
build: packages $(MODULE) ## The module: build/metadata_exchange.wasm

.PHONY: image
image: packages $(MODULE) ## The module as a container image for Istio: build/image
	@$(BIN)/tsx tools/image/build.ts

.PHONY: push
push: image $(if $(CRANE),,.cache/go/crane) ## Pushes the image: make push IMAGE=registry.example.com/name:tag
	@$(BIN)/tsx tools/image/push.ts

.PHONY: sbom
sbom: packages ## What the module was built with, in the form of CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	@npm sbom --sbom-format cyclonedx --package-lock-only >build/sbom.cdx.json

.PHONY: debug
debug: packages build/metadata_exchange.debug.wasm ## The module with names, assertions and a source map

.PHONY: mesh
mesh: packages envoy $(MODULE) ## Open Service Mesh's shape in network namespaces, as root, until Ctrl-C
	@tools/install-tools.sh openssl ip iptables setpriv
	@$(BIN)/tsx tools/open-service-mesh.ts

.PHONY: certificates
certificates: packages ## Certificates for the configurations that speak TLS: build/certificates
	@tools/install-tools.sh openssl
	@$(BIN)/tsx tools/certificates.ts

.PHONY: lint
lint: packages ## Formatting, linting, types; the pages' tables, included code, links and line lengths
	@echo "==> linting"
	@$(BIN)/biome check .
	@$(BIN)/tsc -p .
	@$(BIN)/tsx tools/configuration-table.ts --check
	@$(BIN)/tsx tools/consumers-table.ts --check
	@$(BIN)/tsx tools/istio/copies.ts --check
	@$(BIN)/tsx tools/docs-lint.ts

.PHONY: lint-workflows
lint-workflows: .cache/go/actionlint ## Checks the workflows of GitHub Actions
	@.cache/go/actionlint

.PHONY: format
format: packages ## Formats the sources, and makes the pages' tables and included code again
	@$(BIN)/biome check --write .
	@$(BIN)/tsx tools/configuration-table.ts
	@$(BIN)/tsx tools/consumers-table.ts
	@$(BIN)/tsx tools/istio/copies.ts
	@$(BIN)/tsx tools/docs-lint.ts --fix

.PHONY: try-readme
try-readme: packages ## Types README's commands in a fresh Debian, as root, and compares what they print (SUITE=trixie)
	@$(BIN)/tsx tools/try-readme.ts $(if $(SUITE),--suite $(SUITE))

.PHONY: clean
clean: ## Removes what was built and downloaded
	rm -rf build .cache node_modules

.PHONY: envoy
envoy: ## The pinned Envoy, unless ENVOY names another
	@$(if $(ENVOY),,tools/install-envoy.sh)

.PHONY: envoys
envoys: ## Every Envoy that the tests run, unless ENVOY names another
	@$(if $(ENVOY),,tools/install-envoy.sh --all)

# Go decides itself what there is to build.
.PHONY: istio-programs
istio-programs:
	@echo "==> Istio's own code: building what the tests run (some ten minutes the first time)"
	@mkdir -p .cache/istio
	@go=$$(tools/install-go.sh) && cd test/istio/go && $$go build -o ../../../.cache/istio/ ./... tool && \
	  install -m 644 "$$($$go list -m -f '{{.Dir}}' istio.io/istio)/tools/packaging/common/envoy_bootstrap.json" ../../../.cache/istio/

.cache/go/crane .cache/go/actionlint: tools/go/go.mod tools/go/go.sum
	@echo "==> Go tools: building $(@F)"
	@mkdir -p .cache/go
	@go=$$(tools/install-go.sh) && cd tools/go && $$go build -o ../../.cache/go/ tool
	@touch .cache/go/crane .cache/go/actionlint

.PHONY: packages
packages: node_modules/.package-lock.json

node_modules/.package-lock.json: package-lock.json package.json
	@echo "==> npm packages: installing what package-lock.json names (once, about half a minute)"
	@npm ci --no-progress --loglevel=error
	@touch $@

$(MODULE): $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc --target release
	@$(BIN)/tsx tools/check-no-trap.ts $@

build/metadata_exchange.debug.wasm: $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc --target debug

# What the benchmark compares with that is AssemblyScript too.
build/bench/%.wasm: bench/competitors/%/index.ts bench/competitors/asconfig.json | packages
	@echo "==> building $@"
	@$(BIN)/asc $< --config bench/competitors/asconfig.json --outFile $@

# The codecs of assembly/wire, with an entry of their own, for the unit tests.
build/codecs.wasm: test/unit/codecs.ts $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc test/unit/codecs.ts --config test/unit/asconfig.json --target tests

# The other filter of envoy/consumers/lua-cel-wasm.
build/reader.wasm: $(wildcard envoy/consumers/lua-cel-wasm/*.ts envoy/consumers/lua-cel-wasm/asconfig.json) | packages
	@echo "==> building $@"
	@$(BIN)/asc --config envoy/consumers/lua-cel-wasm/asconfig.json
