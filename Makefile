# Everything runs in a virtual environment that the first target to need it makes: no more than python3 and make needed.
PYTHON ?= python3
VENV ?= .venv

RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable
SETUP := pyproject.toml setup.py constraints.txt

.PHONY: help train test test-slow lint format bench docs notebooks clean

help:
	@echo "make train      train a population of PPO agents on CartPole and draw its learning curve"
	@echo "make test       the default tests"
	@echo "make test-slow  the long statistical ones"
	@echo "make lint       format, lint and type checks"
	@echo "make format     put the code into the format"
	@echo "make bench      measure the speed of training"
	@echo "make docs       build the documentation's pages into build/docs"
	@echo "make notebooks  run the notebooks and keep their outputs"
	@echo "make clean      delete the virtual environment and everything built"

train: $(VENV)/installed
	$(RUN) -m experiments.train ppo --env CartPole-v1 --seeds 64 --steps 150_000

test: $(VENV)/installed-dev
	JAXRL_TESTS=quick $(RUN) -m pytest -m "not slow and not optimised" -n 2 --dist loadfile
	$(RUN) -m pytest -m "not slow and optimised" -n 2 --dist loadfile

test-slow: $(VENV)/installed-dev
	$(RUN) -m pytest -m slow

lint: $(VENV)/installed-dev build/types/jaxrl/envs
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)

format: $(VENV)/installed-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(VENV)/installed-dev
	$(RUN) -m experiments.benchmarks.ppo_speed

# mkdocs-material advertises its successor at every build.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

# In this directory's Python, whatever kernels the user has.
notebooks: $(VENV)/installed-dev
	$(RUN) -m experiments.notebooks

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) lacks the venv module: install the package python3-venv, or give another PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SETUP) | $(RUN)
	$(INSTALL) .
	@touch $@

$(VENV)/installed-dev: $(SETUP) | $(RUN)
	$(INSTALL) '.[dev,bench]'
	@touch $@ $(VENV)/installed $(VENV)/installed-docs

$(VENV)/installed-docs: $(SETUP) | $(RUN)
	$(INSTALL) '.[docs]'
	@touch $@

# pyright does not know that setup.py maps envs/ to jaxrl.envs.
build/types/jaxrl/envs:
	mkdir -p $(@D)
	ln -s ../../../envs $@
