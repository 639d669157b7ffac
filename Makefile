# The commands of the README and of CI. Everything is installed into .venv.
PYTHON ?= python3
RUN := .venv/bin/
READY := .venv/ready

SECONDS ?= 600

.PHONY: demo test lint bench fuzz serve soak generated

demo: $(READY)
	$(RUN)facemend restore examples/old.jpg -o demo/ --compare --boxes --force
	@echo 'Look at demo/old_compare.jpg: before beside after. demo/old_boxes.jpg: the faces with their numbers.'

test: lint
	$(RUN)pytest

lint: $(READY)
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

# Beside the packages it replaces, in an environment of their own; SHARED is the folder with test pictures, and
# LARGE=--large adds a picture of 24 MP, which takes twenty minutes.
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

# Coverage-guided, on Linux; SEEDS may name folders of more pictures, and what it finds is left in this one.
fuzz: $(READY)
	$(RUN)python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(RUN)python -m fuzz.decode $(SECONDS) $(SEEDS)

# The container's server without Docker; PORT and FACEMEND_MODELS are its settings.
serve: $(READY)
	mkdir -p .cog && cp openapi.json .cog/openapi_schema.json
	PATH="$(CURDIR)/.venv/bin:$$PATH" MALLOC_ARENA_MAX=1 COG_PREDICT_TYPE_STUB=predict.py:Predictor \
		exec $(RUN)python -m cog.server.http --host 127.0.0.1

# A thousand calls of that server, watched for wrong answers and for memory, files and handles it does not give back.
soak: $(READY)
	$(RUN)python -m tests.cog.soak

# After a change of facemend/weights/models.py or of the inputs in predict.py: writes the choices in predict.py,
# openapi.json and docs/models.md.
generated: $(READY)
	$(RUN)python -m script.generate

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN)python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable '.[test]'
	touch $@
