# The front door: `make` lists the verbs.

.DEFAULT_GOAL := help
.PHONY: help run-examples run trace traces lab claims faults servers conformance attack bench
.PHONY: exercises exercise starters grade docs docs-open strings test check setup clean
.PHONY: formatted documented
.PHONY: portable sanitize fuzz msrv deny release

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

trace: ## an example's system calls, segments and TCP states on one timeline: make trace EX=…
	@test -n "$(EX)" || { echo "which one? make trace EX=s05_half_close; make run lists them"; exit 2; }
	@$(CARGO) build -q -p lab
	@$(CARGO) build -q --examples
	@$(CARGO) run -q -p lab -- trace $(EX) $(ARGS)

traces: ## the traces in docs/traces, anew, in three minutes; make traces EX=s05: the fifth section
	@$(CARGO) build -q --examples
	@EX=$(EX) TRACES=write $(CARGO) test -q -p lab --test traces

lab: ## the experiments that need a wire, with pictures, in minutes; ARGS=--quick in one
	@$(CARGO) build -q --release -p lab -p tcp-stream-io --bins
	@$(CARGO) run -q --release -p lab -- experiment all $(ARGS)

claims: ## what the kernel says to each claim of the article; writes docs/claims.md
	@$(CARGO) build --examples --bins
	@$(CARGO) build -p lab
	@$(CARGO) run -q -p stage --bin claims

faults: ## each wrapper, each call of a server, and each error, in minutes; writes docs/faults*.md
	@TABLE=write $(CARGO) test -q --test refusals
	@echo "written to docs/faults.md; now the servers"
	@TABLE=write $(CARGO) test -q -p servers --test refusals
	@echo "written to docs/faults-servers.md"

conformance: ## check every echo server; or yours: make conformance CMD="./mine {port}"
	@$(CARGO) build -q -p tcp-stream-io -p servers
	@$(CARGO) run -q -p servers --bin conformance -- $(ARGS) $(if $(CMD),-- $(CMD),--matrix)

attack: ## every rung under attack, beside an honest client, in minutes: ARGS="r06 --only drip"
	@$(CARGO) build -q -p servers
	@$(CARGO) run -q -p servers --bin attack -- $(ARGS)

servers: ## the echo server rung by rung, under a short load: what each adds, and what it costs
	@$(CARGO) build -q --release -p servers --bins
	@$(CARGO) run -q --release -p servers --bin servers -- $(ARGS)

bench: ## what each step buys, beside the usual crates; writes docs/speed.md; QUICK=1: in a minute
	$(CARGO) build --profile bench -p speed
	$(CARGO) build --release -p servers
	@$(CARGO) run -q --profile bench -p speed -- $(if $(QUICK),--quick) \
		$(if $(QUICK)$(ARGS),,--page docs/speed.md) $(ARGS)

RUSTLINGS := 6.5.0

exercises: target/tools/bin/rustlings ## the classroom: exercises that the real kernel grades, in rustlings
	@$(TASKS)
	@cd classroom && ../target/tools/bin/rustlings $(ARGS)

# What a learner reads is in the language of LANGUAGE, or of the locale: make exercises LANGUAGE=ko.
TASKS = $(CARGO) run -q -p grader --bin tasks -- classroom
KOREAN := $(filter ko%,$(firstword $(LANGUAGE) $(LC_ALL) $(LC_MESSAGES) $(LANG)))
# Also one whose file is missing: `tasks` says how that comes back.
EXERCISES = $(shell sed -n 's|.*name = "\(.*\)", path = "exercises.*|\1|p' classroom/Cargo.toml)

ifneq ($(KOREAN),)
INSTALLING := rustlings $(RUSTLINGS) 설치: target/tools (처음 한 번, 1분쯤 걸린다)
WHICH = $(if $(EX),그런 문제는 없다: $(EX).,어느 문제인가?) make exercise EX=이름. 이름: $(EXERCISES)
else
INSTALLING := installing rustlings $(RUSTLINGS) into target/tools (once, for a minute)
WHICH = $(if $(EX),there is no exercise $(EX):,which one?) make exercise EX=NAME, with NAME one of: $(EXERCISES)
endif

target/tools/bin/rustlings:
	@echo "$(INSTALLING)"
	@$(CARGO) install -q rustlings --version $(RUSTLINGS) --locked --root target/tools

exercise: ## grade one exercise without rustlings: make exercise EX=send_all
	@case " $(EXERCISES) " in *" $(or $(EX),none) "*) ;; *) echo "$(WHICH)"; exit 2;; esac
	@$(TASKS) $(EX)
	@$(CARGO) run -q -p classroom --bin $(EX)

starters: ## write the exercises anew, as they are cut out of the solutions: drops what was written
	@STARTERS=write $(CARGO) test -q -p proof starters_are_cut >/dev/null

# What an earlier run left is gone, also where this one does not come so far as to write.
GRADE = $(or $(CARGO_TARGET_DIR),target)/grade

grade: ## grade all exercises: a table, JSON and JUnit XML in target; SKIP="tlv lines" leaves some out
	@rm -f "$(GRADE).json" "$(GRADE).xml" "$(GRADE)-github.json"
	@$(CARGO) run -q -p grader --bin grade -- $(if $(SKIP),--skip "$(SKIP)") $(if $(EX),--only "$(EX)")

MDBOOK := 0.5.4

docs: target/tools/bin/mdbook ## the book, with every line of the sources: target/book/en and ko
	@echo "running the examples"
	@mkdir -p $(OUTPUTS); if $(CARGO) build -q --examples; then $(RUN_EXAMPLES); \
	else echo "they do not build here: the book lacks what they print"; fi
	@echo "building the book"
	@$(CARGO) build -q -p press
	@$(CARGO) run -q -p press -- assemble . target/book/src --outputs $(OUTPUTS)
	@$(CARGO) run -q -p press -- translate . target/book/src target/book/src-ko
	@MDBOOK_LOG=warn target/tools/bin/mdbook build docs
	@MDBOOK_LOG=warn MDBOOK_BOOK__LANGUAGE=ko MDBOOK_BOOK__SRC=../target/book/src-ko \
		MDBOOK_BOOK__TITLE="TCP 스트림 I/O: 커널의 대답" \
		target/tools/bin/mdbook build docs --dest-dir target/book/ko
	@$(CARGO) run -q -p press -- label target/book/ko
	@for book in en ko; do $(CARGO) run -q -p press -- prove . target/book/$$book || exit; done
	@if $(MAKE) -s $(PAGEFIND_AT); then for book in en ko; do \
		$(CARGO) run -q -p press -- mark target/book/$$book && \
		$(PAGEFIND_AT) --silent --site target/book/$$book || exit; done; \
	else echo "the book has no search: Pagefind $(PAGEFIND) could not be installed"; fi
	@echo "the book: target/book/en/index.html, target/book/ko/index.html; make docs-open shows it, with its search"

# What each example prints, for its page. One whose program is older than its output is not run again.
OUTPUTS := target/book/outputs
RUN_EXAMPLES = for source in examples/*.rs; do \
		name=$$(basename $$source .rs); text=$(OUTPUTS)/$$name.txt; \
		program="$(or $(CARGO_TARGET_DIR),target)/debug/examples/$$name"; \
		if [ ! $$text -nt "$$program" ]; then \
			"$$program" >$$text.new 2>&1 </dev/null; mv $$text.new $$text; fi; done

strings: ## the catalogues in docs/po anew: changed strings are fuzzy, new ones empty, those gone dropped
	@$(CARGO) build -q -p press
	@$(CARGO) run -q -p press -- assemble . target/book/src
	@$(CARGO) run -q -p press -- strings . target/book/src

docs-open: docs ## build the book, and show it in a browser, with its search, until Ctrl-C
	@$(CARGO) run -q -p press -- show target/book

target/tools/bin/mdbook:
	@echo "installing mdBook $(MDBOOK) into target/tools (once, for two minutes)"
	@$(CARGO) install -q mdbook --version $(MDBOOK) --locked --no-default-features --root target/tools

# The search of the book. Its program comes in a package of npm, one for each kind of machine.
PAGEFIND := 1.6.0
PAGEFIND_AT := target/tools/pagefind-$(PAGEFIND)
PAGEFIND_FOR := $(if $(filter aarch64,$(shell uname -m)),linux-arm64,linux-x64)
PAGEFIND_SHA512_linux-x64 := 21b312c7ff95aff5e4d134c194b92380afabbe76ce5c69a66f6fcc2b142ef7d011e43b2a$(\
	)42857734a100f4f433dad021b82663783e71241a78c393790c7202ed
PAGEFIND_SHA512_linux-arm64 := 48b07623e5ea09999af0dbc81881fc9f229b960288c70e4f9aab15b687d638ac4d1e112d$(\
	)384b1d75ba94fa1b2b35c4f7115d1f68ce9498a0c7548c5c3d8ab6f7

$(PAGEFIND_AT):
	@command -v npm >/dev/null || { echo "no npm, from which Pagefind comes"; exit 1; }
	@echo "installing Pagefind $(PAGEFIND) into target/tools (once, for some seconds)"
	@mkdir -p target/tools; at=$$(mktemp -d target/tools/pagefind.XXXXXX); trap 'rm -rf "$$at"' EXIT; trap 'exit 1' INT TERM; \
	npm pack --silent --pack-destination "$$at" @pagefind/$(PAGEFIND_FOR)@$(PAGEFIND) >/dev/null || exit; \
	echo "$(PAGEFIND_SHA512_$(PAGEFIND_FOR))  $$(echo "$$at"/*.tgz)" | sha512sum --check --status || \
		{ echo "that is not the package that the Makefile knows"; exit 1; }; \
	tar -xzf "$$at"/*.tgz -C "$$at" && mv "$$at/package/bin/pagefind_extended" $@

# One choice of packages for all, so that each is built once.
ALL := --workspace --exclude classroom

LINTS := -D warnings -D missing_docs -D clippy::undocumented_unsafe_blocks

# One pass lints and builds, for clippy's driver is a compiler. `cargo clippy`, then `cargo build`
# would compile each dependency twice. The classroom's forty programs are linted, and not built.
test: formatted documented ## everything: format, lints, tests, documentation, every example
	$(CARGO) clippy -p classroom --bins -- $(LINTS)
	export RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/.ci/lint" LINTS="$(LINTS)"; \
	$(CARGO) build $(ALL) --bins --examples && \
		"$(or $(CARGO_TARGET_DIR),target)/debug/run-tests" \
		$(if $(HAS_DENY),,--skipped "the dependencies' licences: make deny installs what looks at them")

check: formatted documented ## format, lints, documentation, and what the dependencies may be
	$(CARGO) clippy --workspace --all-targets -- $(LINTS)

formatted:
	$(CARGO) fmt --all --check

documented:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q --no-deps --lib -p tcp-stream-io -p speed
	@if [ -n "$(HAS_DENY)" ]; then $(MAKE) -s --no-print-directory deny; \
	else echo "skipped: the dependencies' licences: make deny installs what looks at them"; fi

CARGO_DENY := 0.20.2
HAS_DENY := $(wildcard target/tools/bin/cargo-deny)

# It looks at what other systems would compile, too, and that may not have been fetched yet.
# The public advisories only where they have been fetched before, for that needs a network.
deny: target/tools/bin/cargo-deny ## licences, versions and sources of the dependencies
	@$(CARGO) fetch --locked
	@target/tools/bin/cargo-deny --log-level error --workspace --offline check licenses bans sources || exit; \
	if ls "$${CARGO_HOME:-$$HOME/.cargo}"/advisory-dbs/* >/dev/null 2>&1; then \
		target/tools/bin/cargo-deny --log-level error --workspace check --disable-fetch advisories; \
	else echo "skipped: advisories: no database; target/tools/bin/cargo-deny fetch db brings it"; fi

# Without optimization it is there in half the time.
target/tools/bin/cargo-deny:
	@echo "installing cargo-deny $(CARGO_DENY) into target/tools (once, for minutes)"
	@$(CARGO) install -q cargo-deny --version $(CARGO_DENY) --locked --debug --root target/tools

portable: ## type-check for macOS, FreeBSD, musl, aarch64 and i686; run the tests on musl
	@.ci/portable

msrv: ## build everything with the oldest Rust that Cargo.toml promises
	@.ci/msrv

sanitize: ## the decoders under Miri, reference and rungs under ASan and TSan; PART=miri: that alone
	@.ci/sanitize $(PART)

CARGO_FUZZ := 0.13.2

fuzz: target/tools/bin/cargo-fuzz ## each decoder against a slow model, on bytes made up: make fuzz SECONDS=60
	@SECONDS_IN_ALL=$(or $(SECONDS),60) .ci/fuzz $(TARGET)

target/tools/bin/cargo-fuzz:
	@echo "installing cargo-fuzz $(CARGO_FUZZ) into target/tools (once, for a minute)"
	@$(CARGO) install -q cargo-fuzz --version $(CARGO_FUZZ) --locked --debug --root target/tools

# What a release has to pass.
VERBS := test attack deny msrv portable sanitize fuzz

release: ## run every check, then tag: make release VERSION=0.1.0; nothing is pushed
	@VERBS="$(VERBS)" MAKE="$(MAKE)" .ci/release "$(VERSION)"

setup: ## install what tests and bench use (Debian, Ubuntu): strace, python3, valgrind
	@missing=; for tool in strace python3 valgrind; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then echo "nothing to install"; exit 0; fi; \
	echo "installing:$$missing"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq $$missing

clean: ## remove all that was built
	$(CARGO) clean
