# Everything a newcomer needs: `make demo`, `make test`. Set-up installs what is missing (Debian 12) and is a no-op after.

CARGO ?= cargo
DEMO_ARGS ?=

.PHONY: help demo test interop lint bench audit setup setup-test build clean

help:
	@echo "make demo    play a bundled real match: preview page, demo.mp4, and an RTMP server of its own on 127.0.0.1"
	@echo "             DEMO_ARGS='--rtmp rtmp://host/app --loop' goes through to agentcast demo"
	@echo "make test    all tests, with a real nginx-rtmp, livekit-server, ffprobe and Chromium"
	@echo "make interop only a LiveKit room in Chromium: figures, and a picture of the page in tests/out"
	@echo "make lint    formatting, clippy and docs, without a warning"
	@echo "make bench   what a stream costs, against rivals, as tables"
	@echo "make audit   licences, bans and sources of every dependency (needs cargo-deny)"
	@echo "make setup   only install what building and running need"

demo: setup-demo
	@$(CARGO) build
	@.ci/demo $(DEMO_ARGS)

.PHONY: setup-demo
setup-demo:
	@.ci/setup build run demo

setup:
	@.ci/setup build run

setup-test:
	@.ci/setup build run demo test

test: setup-test
	@$(CARGO) test --no-fail-fast

interop: setup-test
	@$(CARGO) test --test livekit_interop -- --nocapture

build: setup
	@$(CARGO) build --release

lint: setup
	@$(CARGO) fmt --check
	@$(CARGO) clippy --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

.PHONY: setup-bench
setup-bench:
	@.ci/setup build run demo bench

bench: setup-bench
	@$(CARGO) bench --bench render --bench passes --bench stream --bench livekit --bench service

audit:
	@command -v cargo-deny >/dev/null || { echo "make audit needs cargo-deny; run: cargo install --locked cargo-deny"; exit 1; }
	@cargo deny check --config .ci/deny.toml licenses bans sources

clean:
	@$(CARGO) clean
