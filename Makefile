# The commands a person types. Each sets up what it needs.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# The router lives in an environment of its own: its ~130 dependencies are not ours.
ROUTER ?= .venv-crossbar
# Errors are shown. Warnings are not: they are those of other packages, and alarm for nothing.
PIP     = $(BIN)/pip install -qq

.PHONY: demo test test-slow mutants bench lint docs clean

demo: $(VENV)/.package $(ROUTER)/.crossbar   ## run the main job here: make demo [FOR=seconds]
	$(BIN)/socs demo $(if $(FOR),--for $(FOR)) $(ARGS)

test: $(VENV)/.test $(ROUTER)/.crossbar servers
	$(BIN)/python -m tests.run $(ARGS)

test-slow: $(VENV)/.test $(ROUTER)/.crossbar servers
	@.ci/need mmdebstrap mmdebstrap || true  # tests that need it are skipped without
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

mutants: $(VENV)/.test servers   ## take promises out of the code and see the tests turn red
	$(BIN)/python -m tests.mutants

bench: $(VENV)/.test $(ROUTER)/.crossbar servers
	$(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:
	rm -rf $(VENV) $(ROUTER) docs/_build build *.egg-info

.PHONY: servers
servers:
	@.ci/need mariadbd mariadb-server
	@.ci/need rsync rsync
	@.ci/need sshd openssh-server
	@.ci/need ssh openssh-client
	@.ci/need strace strace
	@.ci/need faketime faketime

$(VENV)/bin/python:
	@.ci/need venv python3-venv
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(VENV)/.package: setup.py | $(VENV)/bin/python
	@echo "Installing socs and what it needs into $(VENV) (about a minute) ..."
	$(PIP) -e .[demo]
	@touch $@

$(VENV)/.test: $(VENV)/.package
	@echo "Installing what the tests need into $(VENV) ..."
	$(PIP) -e .[test,docs,slow-signal,analysis,plot,tango,epics]
	@touch $@

$(VENV)/.lint: $(VENV)/.package
	$(PIP) -e .[lint,slow-signal,plot]
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	$(PIP) -e .[docs,slow-signal]
	@touch $@

$(ROUTER)/.crossbar:
	@.ci/need venv python3-venv
	$(PYTHON) -m venv $(ROUTER)
	@echo "Installing the crossbar router into $(ROUTER) (about a minute) ..."
	PYUBJSON_NO_EXTENSION=1 PYBJDATA_NO_EXTENSION=1 $(ROUTER)/bin/pip install -qq 'crossbar>=23.1'
	@touch $@
