# `make` lists the targets. Each does one thing; `make test` does all that must hold before a change lands.

.DEFAULT_GOAL := help
.PHONY: help demo test install fmt clippy doc alone deny package deploy build generated unit plans receivers stories browser namespaces leaks simulate chaos fuzz mutants advisories minimum sbom generate bench bench-postgres

help: ## this list
	@sed -nE 's/^([a-z -]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %s\n           %s\n", $$1, $$2 }'

demo: ## the main job on this machine, in seconds
	cargo run --release -- demo

test: ## install what the tests need, then check and test everything
	@scripts/test

install: ## only install what the tests need and is missing
	@scripts/install

fmt clippy doc alone deny package deploy build generated unit plans receivers stories browser namespaces leaks: ## one stage of `make test`
	@scripts/test $@

simulate: ## more bad days of the engine than `make unit` tells: make simulate DAYS=100000 SEED=10000
	THARSIS_SIMULATION_DAYS=$(or $(DAYS),100000) THARSIS_SIMULATION_SEED=$(or $(SEED),10000) cargo test -p tharsis-dispatch --lib days::every

# As many worlds side by side as fit two cores; interrupted, it goes on with the same SEED. WORLD=n tells one again.
KILLS ?= 1000
chaos: ## kill workers, publishers and servers KILLS times, and judge what became of the promises
	@scripts/install postgres faketime
	cargo build --workspace --all-targets
	target/debug/chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(WORLD),--world $(WORLD))

# A case that fails is kept in fuzz/found/, where `make unit` runs it from then on.
fuzz: ## look for input that no reader should stumble over, for so many seconds: make fuzz SECONDS=600
	THARSIS_FUZZ_SECONDS=$(or $(SECONDS),60) cargo test --quiet --workspace --locked --no-fail-fast \
		--lib --bins --test fuzz fuzz_ -- --test-threads=1 --nocapture

mutants: ## break the egress policy, the verdict and the signer in small ways, and see whether a test notices
	@scripts/install cargo-mutants
	@scripts/mutants

advisories: ## known vulnerabilities among the dependencies (fetches the RustSec database)
	@scripts/install cargo-deny
	target/tools/bin/cargo-deny --locked check advisories

minimum: ## whether it compiles with the oldest versions that Cargo.toml names
	@scripts/minimum

sbom: ## what the program is made of, as CycloneDX, into target/sbom/
	@scripts/install cargo-cyclonedx
	@scripts/sbom

generate: build ## write the generated pages of docs/ anew
	@scripts/generate

bench: ## the figures that the documentation quotes, as JSON, each beside its yardstick
	cargo build --release -p tharsis-bench
	target/release/tharsis-bench --scenario drain
	target/release/tharsis-bench --scenario drain --events 50000
	target/release/tharsis-bench --scenario drain --events 50000 --filter 'event.predictions.exists(p, p.discount > 20)'
	target/release/tharsis-bench --scenario drain --events 50000 --batch 50
	target/release/tharsis-bench --scenario drain --events 50000 --order recipient
	target/release/tharsis-bench --scenario drain --events 20000 --runs 3 --order strict
	target/release/tharsis-bench --scenario publish --events 50000
	target/release/tharsis-bench --scenario latency --events 1500
	target/release/tharsis-bench --scenario replay --events 100000 --rate 1000/s
	target/release/tharsis-bench --scenario soak --minutes 2
	target/release/tharsis-bench --scenario hostile --runs 3
	target/release/tharsis-bench --scenario lists
	target/release/tharsis-bench --scenario pages

bench-postgres: ## the same on PostgreSQL, in a cluster of its own
	cargo build --release -p tharsis-bench
	@scripts/bench-postgres
