# The front door: `make` lists the verbs.

.DEFAULT_GOAL := help
.PHONY: help run-examples run claims bench test check setup clean

CARGO ?= cargo

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run-examples: ## run every example, in the order of the article
	@$(CARGO) build --examples
	@$(CARGO) run -q -p stage --bin run-examples

run: ## run one example and see all it prints: make run EX=s05_half_close
	@test -n "$(EX)" || { echo "which one? make run EX=NAME, with NAME one of:"; \
		ls examples/*.rs | sed 's|examples/\(.*\)\.rs|  \1|'; exit 2; }
	@test -f "examples/$(EX).rs" || { echo "no example examples/$(EX).rs; make run lists them"; exit 2; }
	@$(CARGO) run -q --example $(EX) -- $(ARGS)

claims: ## what the kernel says to each claim of the article; writes docs/claims.md
	@$(CARGO) build --examples
	@$(CARGO) run -q -p stage --bin claims

bench: ## speed and cost beside the usual crates, in minutes; make bench QUICK=1 in less than one
	$(CARGO) build --profile bench -p bench
	@if [ -d ladder ]; then set -x; $(CARGO) build --release -p ladder; fi
	@$(CARGO) run -q --profile bench -p bench -- $(if $(QUICK),--quick) $(ARGS)

test: check ## everything: format, lints, tests, documentation, every example
	$(CARGO) test --workspace
	$(MAKE) --no-print-directory run-examples

check: ## format, lints and documentation only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q --workspace --no-deps

setup: ## install what tests and bench use (Debian, Ubuntu): strace, python3, valgrind
	@missing=; for tool in strace python3 valgrind; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then echo "nothing to install"; exit 0; fi; \
	echo "installing:$$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq $$missing

clean: ## remove all that was built
	$(CARGO) clean
