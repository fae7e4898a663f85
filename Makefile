# SPDX-License-Identifier: Apache-2.0
# `make` lists what there is to do. The two that matter: `make demo` and `make test`.
SHELL := bash
.DELETE_ON_ERROR:

BIN     := node_modules/.bin
BUILT   := build/metadata_exchange.wasm
PAGE    := build/page/index.html
SOURCES := $(shell find assembly -name '*.ts') asconfig.json tools/asc tools/ascii.js
PAGE_SOURCES := $(shell find cli/serve/page cli/map -type f) cli/serve/snapshot.ts cli/visible.ts

# Variables become a script's flags: $(call flag,requests,REQUESTS) is --requests=n where REQUESTS is set, and
# $(call switch,keep,KEEP) is --keep where KEEP is set and not 0. A text may be set and empty.
flag   = $(if $($(2)),--$(1)='$($(2))')
switch = $(if $(filter-out 0,$($(2))),--$(1))
text   = $(if $(filter undefined,$(origin $(2))),,--$(1)='$($(2))')

.PHONY: help
help: ## Lists the targets, with the variables that each takes
	@awk '/^[a-z-]+:.*## / { sub(/:.*## /, "\t"); split($$0, part, "\t"); printf "%-16s%s\n", part[1], part[2] } \
	  /^##   [A-Z]/ { sub(/^##   /, ""); value = $$1; sub(/^[^ ]+ +/, ""); printf "%16s%-20s%s\n", "", value, $$0 } \
	  /^## [A-Z]/ { sub(/^## /, ""); printf "\n%s\n", $$0 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: packages envoy $(BUILT) $(PAGE) ## A mesh of real Envoys, and a live map of who calls whom
##   KEEP=1           leaves them running until Ctrl-C, which is usual at a terminal; KEEP=0 does not
##   PAIR=1           two Envoys only, and what each of them has learned, field by field
##   SECONDS=n        how long requests are sent through the mesh
ifeq ($(filter-out 0,$(PAIR)),)
	@# Not by tsx's own program: at Ctrl-C that ends as if something had failed.
	@node --import tsx tools/demo.ts $(call flag,keep,KEEP) $(call flag,seconds,SECONDS)
else
	@$(BIN)/tsx tools/demo/pair.ts $(call switch,keep,KEEP)
endif

.PHONY: test
test: system-test packages envoys $(BUILT) $(PAGE) build/codecs.wasm build/reader.wasm build/bench/floor.wasm certificates ## Every test, on real Envoys, as processes, in containers and in network namespaces
##   TESTS=path       only these: a file, a folder, or a part of their names
	@tools/start-docker.sh
	@echo "==> tests"
	@$(BIN)/vitest run $(TESTS)

.PHONY: test-istio
test-istio: system-test-istio packages envoy image .cache/go/crane istio-programs ## The image, the resources and the exchange on Istio's own code
##   TESTS=path       only these
##   DOCS=1           writes the tables of docs/metrics.md on Istio's dashboards anew
	@echo "==> tests on Istio"
	@ISTIO=1 $(BIN)/vitest run $(TESTS)

.PHONY: test-envoy-gateway
test-envoy-gateway: system-test-envoy-gateway packages envoys image .cache/go/crane envoy-gateway-programs ## The resources for Envoy Gateway, on Envoy Gateway itself; root
##   TESTS=path       only these
	@echo "==> tests on Envoy Gateway"
	@ENVOY_GATEWAY=1 $(BIN)/vitest run $(TESTS)

.PHONY: soak
soak: packages envoy $(BUILT) ## A million requests, hostile ones too, and what memory does
##   REQUESTS=n       how many requests
##   SEED=n           another mixture of requests
##   BRIDGE=1         the Lua bridge runs beside the filter
##   METRICS=1        the filter counts requests by peer
	@$(BIN)/tsx tools/soak.ts $(call flag,requests,REQUESTS) $(call flag,seed,SEED) $(call switch,bridge,BRIDGE) \
	  $(call switch,metrics,METRICS)

.PHONY: fuzz
fuzz: packages $(BUILT) build/codecs.wasm ## Two million hostile inputs
##   INPUTS=n         how many inputs
##   SEED=n           other inputs
##   TARGET=name      only base64, struct, config, streams, discovery or prefaces
##   HEX=digits       one input of that target
##   KEEP=1           writes the corpus anew
##   NO_COVERAGE=1    does not count which branches the inputs reach
	@$(BIN)/tsx test/fuzz/fuzz.ts $(call flag,inputs,INPUTS) $(call flag,seed,SEED) $(call flag,target,TARGET) \
	  $(call text,hex,HEX) $(call switch,keep,KEEP) $(call switch,no-coverage,NO_COVERAGE)

.PHONY: fuzz-bugs
fuzz-bugs: packages ## Plants bugs in a copy of the tree, one at a time: the fuzzer must find each
##   ONLY=name        this one alone
	@$(BIN)/tsx test/fuzz/bugs.ts $(call flag,only,ONLY)

.PHONY: flood
flood: packages $(BUILT) ## What a flood of new peers costs, and one of colliding hashes
##   ROUNDS=n         how many rounds
##   STREAMS=n        how many streams in each round
	@$(BIN)/tsx bench/flood.ts $(call flag,rounds,ROUNDS) $(call flag,streams,STREAMS)

.PHONY: bench
bench: system-bench packages envoy $(BUILT) build/bench/empty.wasm build/bench/floor.wasm build/bench/lookups.wasm ## What it costs, beside other ways to do the same
##   ROUNDS=n         how many rounds
##   REQUESTS=n       how many requests of each contender in each round
##   CASES=name,name  only these, such as inbound,outbound
##   MODULE_BESIDE=path  measures this module, too: the one before a change, for instance
##   DOCS=1           writes the tables and the chart of the documentation anew
	@$(BIN)/tsx bench/bench.ts $(call flag,rounds,ROUNDS) $(call flag,requests,REQUESTS) \
	  $(call flag,cases,CASES) $(call flag,module-beside,MODULE_BESIDE) $(call switch,docs,DOCS)

.PHONY: build
build: packages $(BUILT) ## The module: build/metadata_exchange.wasm

.PHONY: page
page: packages $(PAGE) ## The page of `metadata-exchange serve`: build/page

.PHONY: screenshot
screenshot: system-screenshot packages envoy $(BUILT) $(PAGE) ## The picture of the live map in README: docs/map.png
	@$(BIN)/tsx tools/screenshot.ts

.PHONY: size
size: packages $(MODULE) ## How many bytes each room of the module takes beside its budget, and how much memory a VM has
	@$(BIN)/tsx tools/size.ts

.PHONY: image
image: packages $(BUILT) ## The module as a container image for Istio: build/image
##   SOURCE_URL=url   where the sources are, for the labels
##   SOURCE_REVISION=id   their commit
	@$(BIN)/tsx tools/image/build.ts $(call flag,source-url,SOURCE_URL) $(call flag,source-revision,SOURCE_REVISION)

.PHONY: push
push: image $(if $(CRANE),,.cache/go/crane) ## Pushes the image, and writes Istio's resources for it
##   IMAGE=name       where to: registry.example.com/name:tag
##   CRANE=path       another crane than the pinned one
	@$(BIN)/tsx tools/image/push.ts $(call flag,image,IMAGE) $(call flag,crane,CRANE)

.PHONY: sbom
sbom: packages ## What the module was built with, in the form of CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	@npm sbom --sbom-format cyclonedx --package-lock-only >build/sbom.cdx.json

.PHONY: debug
debug: packages build/metadata_exchange.debug.wasm ## The module with names, assertions and a source map

.PHONY: mesh
mesh: system-mesh packages envoy $(BUILT) ## Open Service Mesh's shape in network namespaces, as root, until Ctrl-C
	@$(BIN)/tsx tools/open-service-mesh.ts

.PHONY: certificates
certificates: system-certificates packages ## Certificates for the configurations that speak TLS: build/certificates
	@$(BIN)/tsx tools/certificates.ts

.PHONY: lint
lint: packages ## Formatting, linting, types; the pages' tables, included code, links and line lengths
	@echo "==> linting"
	@$(BIN)/biome check .
	@$(BIN)/tsc -p .
	@$(BIN)/tsx tools/configuration-table.ts --check
	@$(BIN)/tsx tools/consumers-table.ts --check
	@$(BIN)/tsx tools/metrics-table.ts --check
	@$(BIN)/tsx tools/native-table.ts --check
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
	@$(BIN)/tsx tools/metrics-table.ts
	@$(BIN)/tsx tools/native-table.ts
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

## Everywhere:
##   ENVOY=path       runs this Envoy
##   MODULE=path      runs this module instead of the built one
##   INSTALL=0        installs no system packages: says which are missing, and fails

# What targets need of the system. One line says what will be installed, before anything else is done.
SYSTEM_test         := docker compose ip iptables setpriv curl openssl prometheus postgres redis chromium
SYSTEM_screenshot   := chromium pngquant
SYSTEM_test-istio   := go openssl prometheus
SYSTEM_test-envoy-gateway := go ip curl
SYSTEM_bench        := h2load -- rust go
SYSTEM_mesh         := openssl ip iptables setpriv
SYSTEM_certificates := openssl

system-%:
	@tools/install-packages.sh $(SYSTEM_$*)

# Go decides itself what there is to build.
.PHONY: istio-programs
istio-programs:
	@echo "==> Istio's own code: building what the tests run (some ten minutes the first time)"
	@mkdir -p .cache/istio
	@go=$$(tools/install-go.sh) && cd test/istio/go && $$go build -o ../../../.cache/istio/ ./... tool && \
	  istio=$$($$go list -m -f '{{.Dir}}' istio.io/istio) && cd ../../.. && \
	  rm -rf .cache/istio/dashboards && mkdir -p .cache/istio/dashboards && \
	  install -m 644 $$istio/tools/packaging/common/envoy_bootstrap.json .cache/istio/ && \
	  install -m 644 $$istio/manifests/addons/dashboards/*dashboard*.json .cache/istio/dashboards/

.PHONY: envoy-gateway-programs
envoy-gateway-programs:
	@echo "==> Envoy Gateway: building what the tests run (some five minutes the first time)"
	@mkdir -p .cache/envoy-gateway
	@go=$$(tools/install-go.sh) && cd test/envoy-gateway/go && \
	  CGO_ENABLED=0 $$go build -ldflags=-s -o ../../../.cache/envoy-gateway/ tool

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

$(BUILT): $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc --target release
	@$(BIN)/tsx tools/check-no-trap.ts $@

$(PAGE): $(PAGE_SOURCES) | packages
	@echo "==> building $(@D)"
	@$(BIN)/vite build cli/serve/page --config cli/serve/page/vite.config.ts

build/metadata_exchange.debug.wasm: $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc --target debug

# What the benchmark compares with that is AssemblyScript too.
build/bench/%.wasm: bench/competitors/%/index.ts bench/competitors/asconfig.json | packages
	@echo "==> building $@"
	@$(BIN)/asc $< --config bench/competitors/asconfig.json --outFile $@

# What measures lookups reads the store by the module's own functions.
build/bench/lookups.wasm: bench/lookups/index.ts $(SOURCES) | packages
	@echo "==> building $@"
	@mkdir -p $(@D)
	@tools/asc $< --config bench/competitors/asconfig.json --outFile $@

# The codecs of assembly/wire, with an entry of their own, for the unit tests.
build/codecs.wasm: test/unit/codecs.ts $(SOURCES) | packages
	@echo "==> building $@"
	@tools/asc test/unit/codecs.ts --config test/unit/asconfig.json --target tests

# The other filter of envoy/consumers/lua-cel-wasm.
build/reader.wasm: $(wildcard envoy/consumers/lua-cel-wasm/*.ts envoy/consumers/lua-cel-wasm/asconfig.json) | packages
	@echo "==> building $@"
	@$(BIN)/asc --config envoy/consumers/lua-cel-wasm/asconfig.json
