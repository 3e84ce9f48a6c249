# make demo   reads a page of text with three OCR models running in Tenfold
# make test   installs what the tests need and runs every check and every test, or those in TESTS=PATH;
#             TensorFlow, for SavedModels, goes into an environment of its own (1.7 GB), the oldest Triton that is
#             allowed into a folder (0.6 GB)
# make check  format, lint, types, import contracts, fast tests (after make test has made the environment)
# make clean  removes the environment and what the demo wrote

VENV := .venv
TENSORFLOW := .venv/tensorflow
OLDEST := .venv/oldest-triton
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
RAPIDOCR := rapidocr-onnxruntime==1.4.4

.PHONY: demo test check clean

demo: $(VENV)/.demo
	$(VENV)/bin/python examples/ocr_demo.py --output out/page_annotated.png

test:
	$(MAKE) --no-print-directory --jobs=2 $(VENV)/.test $(TENSORFLOW)/.made $(OLDEST)/.made
	scripts/check --static
	TENFOLD_TENSORFLOW="$$(cat $(TENSORFLOW)/.made 2>/dev/null)" \
	OLDEST_TRITON="$$(cat $(OLDEST)/.made 2>/dev/null)" $(VENV)/bin/python -m pytest $(TESTS)

check: $(VENV)/.test
	scripts/check

$(TENSORFLOW)/.made: $(VENV)/.python pyproject.toml
	@$(VENV)/bin/python -m venv $(TENSORFLOW)
	@wanted="$$($(VENV)/bin/python scripts/extra tensorflow)" && \
	if $(TENSORFLOW)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile $$wanted; \
	then echo $(TENSORFLOW)/bin/python >$@; \
	else echo 'TensorFlow could not be installed: SavedModels will NOT be checked' >&2; fi

# The oldest Triton that is allowed, alone in a folder that goes before the environment's own.
$(OLDEST)/.made: $(VENV)/.python pyproject.toml
	@wanted="$$($(VENV)/bin/python scripts/extra cuda triton)" && \
	if $(PIP) --no-deps --no-compile --upgrade --target $(OLDEST) "$$wanted"; then echo "$(CURDIR)/$(OLDEST)" >$@; \
	else echo 'The oldest Triton could not be installed: kernels will be checked with the newest alone' >&2; fi

$(VENV)/.python: scripts/python
	@python="$$(PYTHON='$(PYTHON)' scripts/python)" && "$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.python pyproject.toml
	$(PIP) --editable '.[demo]'
	$(PIP) --no-deps '$(RAPIDOCR)'
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) out
