# Two commands: `make demo` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
LIGHT := .venv
FULL := .venv-full
UV_VERSION := 0.13.9
# Images of your own for the demo, a folder: make demo DATA=~/images
DATA ?=
DEMO ?= work_dirs/demo
# Which versions `make versions` tries, and below which per cent `make coverage` names a file.
VERSIONS ?= lowest 3.12 newest
COVERED ?= 90
# A process per core, one thread each; the tests of a file share what they set up.
PYTEST_ENV := OMP_NUM_THREADS=1
PYTEST := --numprocesses auto --dist loadfile

COVERAGE := work_dirs/coverage

.PHONY: demo test test-light test-full coverage dist-check versions fuzz bench docs lint clean

demo: $(LIGHT)/.installed
	$(LIGHT)/bin/python -m projects.demo --out "$(DEMO)" $(if $(DATA),--data "$(DATA)")

test: lint test-light test-full

# What needs no compiled operator runs under both families of the OpenMMLab packages.  make test-light ONLY='not slow'
test-light: $(LIGHT)/.installed
	$(PYTEST_ENV) $(LIGHT)/bin/python -m pytest $(PYTEST) -m "not ops and not cuda$(if $(ONLY), and ($(ONLY)))"

test-full: $(FULL)/.installed
	$(PYTEST_ENV) $(FULL)/bin/python -m pytest $(PYTEST) -m "not cuda and not dali and not browser and not site"

# Which lines of the package the quick light tests reach, subprocesses included. It makes them a third slower.
coverage: $(LIGHT)/.installed
	rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	$(PYTEST_ENV) $(LIGHT)/bin/python -m coverage run -m pytest $(PYTEST) -m "not ops and not cuda and not slow"
	$(LIGHT)/bin/python -m coverage combine --quiet
	@echo 'coverage of sdr_mm: the files below $(COVERED) %, and the total'
	@$(LIGHT)/bin/python -m coverage report --sort=cover | awk '/^(Name|TOTAL)/ || /%$$/ && $$NF + 0 < $(COVERED)'

# The wheel and the sdist: what is in them, and what a user does with them in empty environments, mim included.
dist-check: $(LIGHT)/.installed
	$(LIGHT)/bin/python .ci/dist.py

# Other versions of Python and of the dependencies, a part of the tests each: make versions VERSIONS='--all newest'
versions: $(LIGHT)/.installed
	UV=$(LIGHT)/bin/uv .ci/versions $(VERSIONS)

# Mutated input for every tool, about fifteen minutes: each case succeeds or ends with one clear line.
fuzz: $(LIGHT)/.installed
	PYTHONPATH=.:tests/helpers $(LIGHT)/bin/python -m fuzz

# Ratios against peers on one thread, twenty minutes; docs/benchmarks.md says how to read them.
bench: $(LIGHT)/.installed
	PYTHON=$(LIGHT)/bin/python bash benchmarks/cpu.sh work_dirs/bench

# The site, into site/; warnings are errors.
docs: $(LIGHT)/.installed
	NO_MKDOCS_2_WARNING=1 $(LIGHT)/bin/mkdocs build --strict

lint: $(LIGHT)/.installed
	$(LIGHT)/bin/ruff check .
	$(LIGHT)/bin/mypy

# The light environment: upstream OpenMMLab, wheels only, about two minutes.
$(LIGHT)/.installed: pyproject.toml requirements/light.txt
	@echo "setting up $(LIGHT), about two minutes"
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet uv==$(UV_VERSION)
	$(LIGHT)/bin/uv pip install --python $(LIGHT)/bin/python --constraint requirements/light.txt --editable '.[upstream,data,dali,docs,test]'
	@touch $@

# The full environment: maintained OpenMMLab with compiled operators, and MMDetection.
$(FULL)/.installed: pyproject.toml requirements/full.txt requirements/install_full.sh
	PYTHON="$(PYTHON)" UV_VERSION="$(UV_VERSION)" bash requirements/install_full.sh $(FULL)
	@touch $@

clean:
	rm -rf $(LIGHT) $(FULL) work_dirs site
