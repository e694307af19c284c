# make demo: from a fresh checkout to a finished report. make test: from a fresh checkout to green tests. make docs: the site, in site/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch -c constraints.txt
	$(BIN)/pip install --quiet -e ".[dev]" -c constraints.txt
	touch $@

demo: install
	rm -rf demo
	PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -m "not slow"
	$(MAKE) docs

test-slow: install
	$(BIN)/pytest -n 2 -m slow

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) demo site
