# make demo   reads a page of text with three OCR models running in Tenfold
# make test   installs what the tests need and runs every check and every test
# make check  format, lint, types, import contracts, fast tests (after make test has made the environment)
# make test-tensorflow  SavedModels beside TensorFlow, which takes 1.6 GB in an environment of its own
# make clean  removes the environment and what the demo wrote

VENV := .venv
TENSORFLOW := .venv/tensorflow
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
RAPIDOCR := rapidocr-onnxruntime==1.4.4

.PHONY: demo test check test-tensorflow clean

demo: $(VENV)/.demo
	$(VENV)/bin/python examples/ocr_demo.py --output out/page_annotated.png

test: $(VENV)/.test
	scripts/check --static
	$(VENV)/bin/python -m pytest

check: $(VENV)/.test
	scripts/check

test-tensorflow: $(VENV)/.test $(TENSORFLOW)/.made
	TENFOLD_TENSORFLOW=$(TENSORFLOW)/bin/python $(VENV)/bin/python -m pytest tests/importers/tensorflow

$(TENSORFLOW)/.made: $(VENV)/.python pyproject.toml
	$(VENV)/bin/python -m venv $(TENSORFLOW)
	$(TENSORFLOW)/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[tensorflow]'
	@touch $@

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
