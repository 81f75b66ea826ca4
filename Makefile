# What to do with wharf, each as one word; `make` lists them.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
DATADIR ?= $(PREFIX)/share
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
DESTDIR ?=
# The program that `make install` installs; it builds nothing, so that `sudo make install` needs no Rust.
BINARY ?= target/release/wharf
INSTALL ?= install

.DEFAULT_GOAL := help
.PHONY: help run stop test faults fuzz contract build openapi bench images image-demo image-workspace versions install uninstall clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## start wharf and talk to an agent in its own container (Claude Code where ANTHROPIC_API_KEY is set)
	@scripts/engine.sh scripts/run.sh

stop: ## stop the daemon that `make run` started; agents at work go on in their containers
	@scripts/stop.sh

test: ## everything that has to hold: format, lints, docs, tests against a real engine
	@scripts/engine.sh scripts/test.sh

fuzz: ## every fuzzer for as long as is said: make fuzz SECONDS=180 SEED=7 ONLY=http
	@scripts/engine.sh scripts/images.sh demo
	FUZZ_SECONDS='$(or $(SECONDS),60)' $(if $(SEED),FUZZ_SEED='$(SEED)') RUST_BACKTRACE=0 cargo test --locked --lib --test agent --test fuzz \
	  -- --nocapture --test-threads 1 '$(or $(ONLY),fuzz_)'

contract: ## the API against its description, by schemathesis: make contract EXAMPLES=100 SEED=7
	@EXAMPLES='$(EXAMPLES)' SEED='$(SEED)' scripts/engine.sh scripts/contract.sh

faults: ## try to lose a session: make faults ROUNDS=200 SEED=1, or only PART="daemon power"
	@ROUNDS='$(ROUNDS)' SEED='$(SEED)' scripts/engine.sh scripts/faults.sh $(PART)

build: ## the release build
	cargo build --release --locked

openapi: ## write openapi.json, which describes the API
	WHARF_WRITE_OPENAPI=1 cargo test --locked --quiet --test openapi

bench: ## the measurements, beside the raw limits of this machine
	@scripts/engine.sh scripts/images.sh demo
	@scripts/engine.sh cargo bench --bench wharf --locked

images: ## both images
	@scripts/engine.sh scripts/images.sh demo workspace

image-demo: ## wharf/demo: a shell and the demo agent
	@scripts/engine.sh scripts/images.sh demo

image-workspace: ## wharf/workspace: Debian, tools, coding agents (AGENTS="claude codex": only those)
	@scripts/engine.sh scripts/images.sh workspace

versions: ## pin the newest of every agent in images/versions, or what is said: make versions CLAUDE=2.1.330
	@scripts/versions.sh $(MAKEOVERRIDES)

install: ## install what `make build` built: PREFIX (/usr/local), DESTDIR
	@test -x '$(BINARY)' || { echo "wharf: there is no $(BINARY) yet; first: make build" >&2; exit 1; }
	$(INSTALL) -D -m 755 '$(BINARY)' '$(DESTDIR)$(BINDIR)/wharf'
	$(INSTALL) -d '$(DESTDIR)$(UNITDIR)'
	@for unit in wharf.service wharf.socket wharf-host.service; do sed 's|/usr/local/bin/|$(BINDIR)/|g;s|/usr/local/share/|$(DATADIR)/|g' "systemd/$$unit" \
	  > '$(DESTDIR)$(UNITDIR)'"/$$unit" && chmod 644 '$(DESTDIR)$(UNITDIR)'"/$$unit" || exit 1; done
	$(INSTALL) -D -m 644 systemd/wharf.sysusers '$(DESTDIR)$(SYSUSERSDIR)/wharf.conf'
	$(INSTALL) -D -m 644 systemd/wharf.tmpfiles '$(DESTDIR)$(TMPFILESDIR)/wharf.conf'
	$(INSTALL) -D -m 644 README.md '$(DESTDIR)$(DATADIR)/doc/wharf/README.md'
	$(INSTALL) -D -m 644 ARCHITECTURE.md '$(DESTDIR)$(DATADIR)/doc/wharf/ARCHITECTURE.md'
	$(INSTALL) -D -m 644 LICENSE '$(DESTDIR)$(DATADIR)/doc/wharf/LICENSE'
	$(INSTALL) -d '$(DESTDIR)$(DATADIR)/wharf'
	cp -R images '$(DESTDIR)$(DATADIR)/wharf/'
	@test -n '$(DESTDIR)' || printf '%s\n' \
	  'Installed. To run it as a service:' \
	  '  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && systemctl enable --now wharf.socket wharf.service'

uninstall: ## remove what `make install` installed; state and configuration stay
	rm -f '$(DESTDIR)$(BINDIR)/wharf' '$(DESTDIR)$(UNITDIR)/wharf.service' '$(DESTDIR)$(UNITDIR)/wharf.socket' '$(DESTDIR)$(UNITDIR)/wharf-host.service' \
	  '$(DESTDIR)$(SYSUSERSDIR)/wharf.conf' '$(DESTDIR)$(TMPFILESDIR)/wharf.conf'
	rm -rf '$(DESTDIR)$(DATADIR)/doc/wharf' '$(DESTDIR)$(DATADIR)/wharf'
	@cd '$(DESTDIR)/' && for dir in '$(BINDIR)' '$(UNITDIR)' '$(SYSUSERSDIR)' '$(TMPFILESDIR)' '$(DATADIR)/doc'; do \
	  case '$(DESTDIR)' in \
	  '') case "$$dir" in */bin | */doc) ;; *) rmdir "$$dir" 2>/dev/null ;; esac ;; \
	  *) rmdir -p ".$$dir" 2>/dev/null ;; esac; done; true

clean: ## remove what was built here; images and sessions stay
	cargo clean
