# Every target below `env` only calls `python -m ...`; without make, type its lines in an environment made by
#   pip install -c constraints.txt -e ".[course,grading,test]"
# Variables of the command line (`make run PROFILE=full`) count; of the same names in the environment, only PYTHON and
# PIP_ARGS do, so that a PROFILE that some other program exports changes nothing here.

# The interpreter that makes the environment; 3.11 is the one everything is tested with.
PYTHON   ?= python3
PIP_ARGS ?=
VENV      = .venv
PROFILE   = quick
NOTEBOOK  =
ARGS      =
CLIP      =
WEIGHTS   =
SUBMISSIONS =

BIN   = $(VENV)/bin
STAMP = $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env lab run test lint format sync check-sync stamp data pretrain train grid verify-results predict figures assignments grade clean
# Another environment's paths must not be seen inside ours, nor must pip install anywhere else.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX

help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make run PROFILE=smoke|quick|full NOTEBOOK="00 05" ARGS="-p steps 50"'
	@echo '  make predict CLIP=file.mp4 WEIGHTS=file.safetensors ARGS="..."'
	@echo '  COURSE_SEED=word make grade SUBMISSIONS=folder ARGS="--cell-seconds 30"'
	@echo '  make env PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"    (no CUDA: a 3 GB smaller download)'

env: $(STAMP)  ## install everything into .venv (every other target does it when needed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The versions in constraints.txt need Python 3.11 or newer; '$(PYTHON)' is not one."; \
	  echo "Name another: make $(or $(MAKECMDGOALS),env) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment: Debian and Ubuntu keep that part in a package of its own."; \
	  echo "Install it and repeat: sudo apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[course,grading,test]"
	@touch $@

lab: env  ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab notebooks $(ARGS)

run: env  ## run the notebooks, print a table of their results, write a report
	$(BIN)/python -m gavs_lib.course run --profile "$(PROFILE)" --notebook "$(NOTEBOOK)" $(ARGS)

test: env  ## lint, check-sync and all tests: what continuous integration runs
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m gavs_lib.course check-sync
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: env  ## check style and formatting
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

format: env  ## repair style and formatting where that can be done by machine
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

sync: env  ## write each notebook's .ipynb from its .py
	$(BIN)/python -m gavs_lib.course sync

check-sync: env  ## fail if an .ipynb differs from its .py or holds outputs
	$(BIN)/python -m gavs_lib.course check-sync

stamp: env  ## write the address of [tool.gavs] in pyproject.toml into the notebooks' Colab cell
	$(BIN)/python -m gavs_lib.course stamp

data: env  ## write the miniature world as an AVSBench-semantic folder
	$(BIN)/python -m gavs_lib.course data $(ARGS)

pretrain: env  ## pre-train the two miniature encoders
	$(BIN)/python -m gavs_lib.course pretrain $(ARGS)

train: env  ## train the models that are shipped in data/weights
	$(BIN)/python -m gavs_lib.course train $(ARGS)

grid: env  ## train what the laboratory's plan asks for and has no row yet (hours)
	$(BIN)/python -m gavs_lib.lab.grid $(ARGS)

verify-results: env  ## train one recorded row of the laboratory again, at random, and compare
	$(BIN)/python -m gavs_lib.lab.grid --verify $(ARGS)

predict: env  ## segment what sounds in CLIP=file.mp4
	$(BIN)/python -m gavs_lib.course predict $(if $(CLIP),"$(CLIP)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)

figures: env  ## draw the pictures of the README anew
	$(BIN)/python -m gavs_lib.course figures $(ARGS)

assignments: env  ## write what students get of the assignments into build/assignments/release
	$(BIN)/python -m gavs_lib.course assignments $(ARGS)

grade: env  ## grade the notebooks in SUBMISSIONS=folder; needs COURSE_SEED=word in the environment
	$(BIN)/python -m gavs_lib.course grade $(if $(SUBMISSIONS),"$(SUBMISSIONS)") $(ARGS)

clean:  ## remove what runs left (build, caches, generated data); the environment stays
	rm -rf build notebooks/build dist .cache data/generated .pytest_cache .ruff_cache
	find gavs_lib tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
