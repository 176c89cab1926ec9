# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need, system packages included.

VENV := .venv
OLDEST := .venv-oldest
PYTHON ?= python3
STAMP := $(VENV)/.ready
OLDEST_STAMP := $(OLDEST)/.ready

.PHONY: demo test check bench system clean

demo: system $(STAMP)
	$(VENV)/bin/python -m tests.rig.demo

test: system $(STAMP) $(OLDEST_STAMP)
	$(VENV)/bin/python -m pytest

# The fast half: everything that needs neither root nor namespaces.
check: $(STAMP)
	$(VENV)/bin/python -m pytest tests/unit tests/property tests/scenario tests/sim

bench: system $(STAMP)
	$(VENV)/bin/python -m tests.bench.run

system:
	@sh tests/rig/system-packages.sh

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[test]'
	@touch $@

# The oldest versions that the code must run with (Debian 12 and 13); adapter tests run under this interpreter too.
$(OLDEST_STAMP): pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet pyroute2==0.7.2 construct==2.10.68 pyserial==3.5 sdnotify==0.3.2
	@touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
