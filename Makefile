# make train   installs into .venv, trains on the embedded data set, evaluates
#              and predicts; again: goes on, or says that the run is finished
# make test    installs the test extras, runs ruff, mypy and all tests, as CI does
# make coverage  runs the tests, or TESTS=tests/test_model.py, and says which
#              lines of the library they do not reach
# make docs    builds the guides and the API reference as a site in site/
# make parity  compares image ops and group normalisation with tensorflow-addons
#              itself, in an environment of its own; needs Python 3.10 or 3.11
# make wheels  installs a wheel in an empty environment of each Python of
#              PYTHONS and uses it there; minutes each
# make clean   removes the environments and what building leaves; runs/ stays

# The first of these that fits; or give one: make train PYTHON=python3.12
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(FITS)' 2>/dev/null && echo $$python && break; done)

# The last ones that tensorflow-addons runs on.
ADDONS_FITS = import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))
ADDONS_PYTHON ?= $(shell for python in python3.11 python3.10 python3; do \
	$$python -c '$(ADDONS_FITS)' 2>/dev/null && echo $$python && break; done)

ENV = .venv
ADDONS = .venv-addons
BIN = $(ENV)/bin
MODEL = efficientnetv2-b0

.PHONY: help train test coverage docs parity wheels clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# //p' Makefile | head -11

train: $(ENV)/.for-train
	$(BIN)/python main.py --mode=train --model_name=$(MODEL)
	$(BIN)/python main.py --mode=eval --model_name=$(MODEL)
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -c "from efficientnetv2.data import \
	shapes; shapes.write_pictures('runs/pictures')" 2>/dev/null || { \
	echo "The folder runs/pictures cannot be written"; exit 1; }
	$(BIN)/python main.py --mode=predict --model_name=$(MODEL) --top_k=2 \
	runs/pictures

test: $(ENV)/.for-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q

coverage: $(ENV)/.for-test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

docs: $(ENV)/.for-docs
	$(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

parity: export TF_CPP_MIN_LOG_LEVEL = 3
parity: $(ENV)/.for-test $(ADDONS)/.made
	@$(ADDONS)/bin/python tests/addons_figures.py $(ADDONS)/figures.npz
	@$(BIN)/python tests/addons_parity.py $(ADDONS)/figures.npz

PYTHONS ?= python3.11 python3.12 python3.13
wheels: $(ENV)/.for-test
	@$(BIN)/python tests/wheels.py $(PYTHONS)

clean:
	rm -rf $(ENV) $(ADDONS) build dist site *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache

# A stamp stands for a complete environment, so that an interrupted
# installation is made anew and a finished one only after setup.py changes.
$(ENV)/.made:
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { \
	echo "Python 3.11, 3.12 or 3.13 is needed; $(or $(PYTHON),python3) is" \
	"$$($(or $(PYTHON),python3) -V 2>&1 || echo missing)." \
	"Name one that fits: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a virtual environment in $(ENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(ENV)
	@touch $@

$(ENV)/.for-train: EXTRA = report
$(ENV)/.for-test: EXTRA = test
$(ENV)/.for-docs: EXTRA = docs
$(ENV)/.for-train $(ENV)/.for-test $(ENV)/.for-docs: $(ENV)/.made setup.py
	@echo "Installing efficientnetv2[$(EXTRA)]; TensorFlow alone is 600 MB," \
	"so this takes a minute or more"
	@$(BIN)/python -m pip install --quiet --editable '.[$(EXTRA)]'
	@touch $@

$(ADDONS)/.made:
	@$(or $(ADDONS_PYTHON),false) -c '$(ADDONS_FITS)' 2>/dev/null || { \
	echo "Python 3.10 or 3.11 is needed for tensorflow-addons. Name one:" \
	"make ADDONS_PYTHON=python3.11 parity"; exit 1; }
	@echo "Installing tensorflow 2.15.1 and tensorflow-addons 0.23.0 in" \
	"$(ADDONS), with $(ADDONS_PYTHON)"
	@$(ADDONS_PYTHON) -m venv --clear $(ADDONS)
	@$(ADDONS)/bin/python -m pip install --quiet tensorflow==2.15.1 \
	tensorflow-addons==0.23.0 'numpy<2'
	@touch $@
