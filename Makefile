# `make demo` and `make test` work on a machine that has only Python (3.11 or newer), pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FOLDERS := model_adapters probes eval_tasks sweeps reports studies cli
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint typing format test-lowest clean
.DEFAULT_GOAL := test

demo: $(VENV)/.ready
	$(BIN)/lm-probe demo --out demo-run

test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lint: $(VENV)/.ready typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/typing && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p lm_probe
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamp is newer than what it was made from: a second call installs nothing.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# mypy cannot follow the mapping of folders to import names: it reads the same files through links.
typing:
	mkdir -p build/typing/lm_probe
	for folder in $(FOLDERS); do ln -sfn ../../../$$folder build/typing/lm_probe/$$folder; done

# The floors of pyproject.toml, in an environment of their own; old releases warn of each other, so warnings pass.
test-lowest: constraints-lowest.txt
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e ".[dev]"
	.venv-lowest/bin/python -m pytest -o filterwarnings=default

clean:
	rm -rf $(VENV) .venv-lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-run
