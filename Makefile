# make demo needs Python >= 3.11 and make, nothing else; the network only to install.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml equiaudit/_version.py

.PHONY: demo test long soak exporters lint types bench gpu audit lowest clean install dev

demo: $(VENV)/.installed
	$(BIN)/equiaudit demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS) </dev/null

# Whole nets and real weights in every kind of file: what make test has no time for.
long: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m long $(ARGS) </dev/null

# Hostile files and killed runs, for an hour; SOAK_TRIES=60 mutates fewer files.
soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak $(ARGS) </dev/null

# Files that other projects' exporters write. TensorFlow lives alone; the two others see the torch
# of $(VENV) beside what they install.
EXPORTERS ?= .exporters
SITE := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
exporters: $(VENV)/.dev
	for each in keras optimum main; do $(PYTHON) -m venv $(EXPORTERS)/$$each || exit 1; done
	for each in optimum main; do \
	  echo "import site; site.addsitedir('$$($(BIN)/python $(SITE))')" \
	    > "$$($(EXPORTERS)/$$each/bin/python $(SITE))/shared.pth" || exit 1; done
	$(EXPORTERS)/keras/bin/python -m pip install --quiet tensorflow-cpu==2.21.0 keras==3.15.1 tf2onnx==1.17.0
	$(EXPORTERS)/optimum/bin/python -m pip install --quiet optimum-onnx==0.1.0 "transformers<4.58"
	$(EXPORTERS)/main/bin/python -m pip install --quiet torchao==0.18.0 onnxconverter-common==1.16.0 lightning==2.6.6
	EXPORTERS=$(abspath $(EXPORTERS)) OMP_NUM_THREADS=1 $(EXPORTERS)/main/bin/python -m pytest -m exporters \
	  tests/exporters $(ARGS) </dev/null

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# What the documents quote. The second group needs the real weights and images.
CASES ?= ../shared/cases
bench: $(VENV)/.dev
	for each in coverage flip_coverage exactness overhead speed memory dense_memory; do \
	  $(BIN)/python benchmarks/$$each.py || exit 1; done
	test ! -d "$(CASES)" || for each in scan_overhead offsets canonical crop_select onnx_nets int8; do \
	  $(BIN)/python benchmarks/$$each.py --cases "$(CASES)" || exit 1; done
	test ! -d "$(CASES)" || $(BIN)/python benchmarks/early_stop.py --cases "$(CASES)" \
	  --cache build/logits.npz

# What is claimed of a CUDA device, in ten minutes; one sentence where there is none.
gpu: $(VENV)/.dev
	$(BIN)/python benchmarks/gpu.py $(ARGS)

audit: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

# The lowest versions that pyproject.toml allows: every kind of file, a scan and a fix to the end.
LOWEST ?= tests/models/test_loading.py tests/models/test_bounded_models.py tests/report/test_report.py \
  tests/test_gates.py tests/test_config.py tests/cli/test_app.py tests/cli/test_end_to_end.py \
  tests/cli/test_cli_onnx.py tests/repair/save/test_save.py tests/repair/test_pipeline.py
lowest:
	$(PYTHON) -m venv .lowest
	$(PYTHON) -c "import tomllib; print(*(d.replace('>=', '==') for d in tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']), sep='\n')" > .lowest/constraints.txt
	.lowest/bin/python -m pip install --quiet -c .lowest/constraints.txt -e . pytest hypothesis markdown-it-py
	OMP_NUM_THREADS=1 .lowest/bin/python -m pytest -q $(LOWEST)

clean:
	rm -rf $(VENV) .lowest .exporters build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

install: $(VENV)/.installed
dev: $(VENV)/.dev

# The stamps keep pip, and with it the network, out of every run but the first after a change
# of what is installed. The install is editable: changes of the code need none.
$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
