# The commands of the README and of CI. Everything is installed into .venv.
PYTHON ?= python3
RUN := .venv/bin/
READY := .venv/ready

.PHONY: demo test lint bench

demo: $(READY)
	$(RUN)facemend restore examples/old.jpg -o demo --compare --boxes --force

test: lint
	$(RUN)pytest

lint: $(READY)
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

bench: $(READY)
	$(RUN)python -m bench.parity
	$(RUN)python -m bench.faces

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN)python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable '.[test]'
	touch $@
