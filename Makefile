# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need, system packages included.

VENV := .venv
OLDEST := .venv-oldest
PYTHON ?= python3
STAMP := $(VENV)/.ready
OLDEST_STAMP := $(OLDEST)/.ready

.PHONY: demo test check bench deb wheel test-image image vm test-vm system system-test system-vm clean

demo: system $(STAMP)
	$(VENV)/bin/python -m tests.rig.demo

test: system-test $(STAMP) $(OLDEST_STAMP)
	$(VENV)/bin/python -m pytest

# The fast half: everything that needs neither root nor namespaces.
check: $(STAMP)
	$(VENV)/bin/python -m pytest tests/unit tests/property tests/scenario tests/sim

# All of it takes over an hour. For less: make bench ARGS="compare --repeat 1 --contestants hblink,ucarp --situations crash"
bench: system $(STAMP)
	$(VENV)/bin/python -m tests.bench.run $(ARGS)

# The Debian package and the wheel, in dist/. The package is built in a Debian 13 root (needs root).
deb:
	images/build-deb dist

wheel: $(STAMP)
	rm -rf build/lib build/bdist.*  # what an earlier build left would be packed too
	$(VENV)/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build/lib build/bdist.*

# The package installed, judged and purged in a Debian 13 root, and the tests on Debian 13's own libraries (needs root).
test-image: $(STAMP)
	$(VENV)/bin/python -m pytest tests/image

# The appliance image (needs root): build/vm/image/hblink-appliance.raw
image: system-vm
	images/build-image build/vm/image

# Two virtual machines with that image, both consoles and a prompt for faults in this terminal.
vm: system-vm $(STAMP)
	@$(VENV)/bin/python -m tests.vm.hand

# The same two, every fault one after the other, judged from outside; about a quarter of an hour. ARGS names some steps.
test-vm: system-vm $(STAMP)
	$(VENV)/bin/python -m tests.vm.run $(ARGS)

system:
	@sh tests/rig/system-packages.sh

system-test:
	@sh tests/rig/system-packages.sh test

system-vm:
	@sh tests/rig/system-packages.sh vm

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
