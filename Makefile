# The commands named in the documentation and used by CI. Everything is installed into VENV.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/
READY := $(VENV)/ready

SECONDS ?= 600

# Where this is set, each process compiles all modules again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo page test test-container lint bench fuzz serve soak rehearse generated

demo: $(READY)
	$(RUN)facemend restore examples/scratched.jpg examples/old.jpg -o demo/ --repair --compare --boxes --force
	@echo 'Look at demo/scratched_compare.jpg and demo/old_compare.jpg: before beside after.'
	@echo 'demo/old_boxes.jpg has the faces with their numbers.'

# Opens the page in the browser, and prints its address.
page: $(READY)
	$(RUN)python -m facemend web

# TESTS are arguments of pytest: make test TESTS=tests/files checks style and types too, but runs only these tests
TESTS ?=
test: lint
	$(RUN)python -m pytest -n auto --dist worksteal $(TESTS)

# The tests of the container alone, for the Python of the image: make test-container PYTHON=python3.13 VENV=.venv-3.13
test-container: $(READY)
	$(RUN)python -m pytest -n auto --dist worksteal tests/cog tests/container

lint: $(READY)
	$(RUN)python -m ruff check .
	$(RUN)python -m ruff format --check .
	$(RUN)python -m mypy
	$(RUN)zizmor --offline --quiet .github
	script/actionlint

# Compares speed with the original packages, which get an environment of their own. SHARED is the folder of test
# pictures. LARGE=--large adds a 24 MP picture, which takes twenty minutes.
SHARED ?= ../shared
ORIGINALS := .venv-originals/bin/
bench: $(READY) .venv-originals/ready
	$(RUN)python -m bench.parity
	$(RUN)python -m bench.compare --shared $(SHARED) $(LARGE)

.venv-originals/ready: bench/originals.txt
	$(PYTHON) -m venv .venv-originals
	$(ORIGINALS)python -m pip install --quiet "setuptools<81" wheel cython numpy $$(grep '^torch' $<)
	$(ORIGINALS)python -m pip install --quiet --no-build-isolation --requirement $<
	touch $@

# Coverage-guided fuzzing, on Linux. SEEDS may name folders of further pictures. A file that causes a failure is written
# into this folder.
fuzz: $(READY)
	$(RUN)python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(RUN)python -m fuzz.decode $(SECONDS) $(SEEDS)

# Runs the container's server without Docker. It reads PORT and FACEMEND_MODELS from the environment.
# In the background, its worker ignores Ctrl-C. Otherwise the worker ends first, and leaves the last picture.
serve: $(READY) .cog/openapi_schema.json
	PATH="$(abspath $(VENV))/bin:$$PATH" MALLOC_ARENA_MAX=1 GOMP_SPINCOUNT=1000 COG_PREDICT_TYPE_STUB=predict.py:Predictor \
		$(RUN)python -m cog.server.http --host 127.0.0.1 & server=$$!; \
		trap "kill $$server" INT TERM; wait $$server || wait $$server

# Where Cog's server looks for it. Without it, the server does not check inputs.
.cog/openapi_schema.json: openapi.json
	mkdir -p .cog && cp $< $@

# Sends a thousand calls to that server and checks for wrong answers and for leaks of memory, files and handles.
soak: $(READY)
	$(RUN)python -m tests.cog.soak

# Runs the container without Docker and tests it, as root on Debian: see script/rehearse.
rehearse: $(READY)
	$(RUN)python -m pip install --quiet --disable-pip-version-check --editable '.[rehearse]'
	script/rehearse

# After a change of the tables in facemend/weights/models.py, facemend/weights/hub.py or facemend/files/formats.py, or of
# the inputs in predict.py or predict_creative.py: writes the choices in predict.py and predict_creative.py,
# openapi.json, openapi_creative.json, docs/models.md and docs/formats.md.
generated: $(READY)
	$(RUN)python -m script.generate

# PyPI's torch for Linux brings gigabytes of CUDA libraries. If $(PYTHON) has torch 2.6 or newer, that one is used:
# torch.pth adds the folder that holds it to the environment's path. --system-site-packages would not work where
# $(PYTHON) is in a virtual environment: $(VENV) would get the packages of its base interpreter. Packages in the added
# folder are not installed again and have no programs in $(RUN), so tools are run as modules where they are modules.
# A current pip takes less time, and modules are compiled when they are first imported.
TORCH_FOLDER := from pathlib import Path; import torch; \
	assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6); print(Path(torch.__file__).parents[1])
SITE_PACKAGES := import site; print(site.getsitepackages()[0])

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	if $(PYTHON) -c '$(TORCH_FOLDER)' > $(VENV)/torch.pth 2> /dev/null; then \
		cp $(VENV)/torch.pth "$$($(RUN)python -c '$(SITE_PACKAGES)')"; \
		grep -v '^torch==' requirements.txt > $(VENV)/requirements.txt; \
	else \
		cp requirements.txt $(VENV); \
	fi
	$(RUN)python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(RUN)python -m pip install --quiet --no-compile --requirement $(VENV)/requirements.txt --editable '.[test]'
	touch $@
