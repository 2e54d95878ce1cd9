# `make check` is what CI runs. Everything else is a part of it, or a tool by hand.

.PHONY: packages fuzz check test lint doc deny advisories build install clean

check: ## everything that a change has to pass
	.ci/run --no-install

test: ## the tests alone
	cargo test

lint: ## layout and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

doc: ## the documentation, private items too
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --document-private-items

deny: ## licences, banned crates and sources of the dependencies; needs cargo-deny
	PATH="$(CURDIR)/target/ci-tools/bin:$$PATH" cargo deny check licenses bans sources

advisories: ## known vulnerabilities of the dependencies; needs cargo-deny and the network
	PATH="$(CURDIR)/target/ci-tools/bin:$$PATH" cargo deny check advisories

build: ## the program, as it is installed
	cargo build --release --locked

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= split single_line csv_to_json log_to_json add_metadata add_ec2_metadata add_brackets java_regex config
# The stable compiler does, without sanitizers: there is no unsafe code to look into.
fuzz: ## each fuzz target for FUZZ_SECONDS; needs cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

packages: ## both packages for this machine, of a plain release build; .ci/release builds those that run on older hosts
	cargo build --release --locked
	packaging/build --arch $(shell uname -m) --binary target/release/kinesis-agent deb rpm

PREFIX ?= /usr/local
install: build ## into $(DESTDIR)$(PREFIX)/bin
	install -D -m 0755 target/release/kinesis-agent "$(DESTDIR)$(PREFIX)/bin/kinesis-agent"

clean:
	cargo clean
