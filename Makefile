# make setup   a virtual environment .venv with everything
# make demo   set up, train a small detector on drawn shapes, evaluate it, draw its detections
# make demo-segmentation   the same with a small segmentor
# make benchmark   time the backbone on this CPU against its peers and the published code
# make test   set up, lint, run the tests
# make test LINE=original   the same on the original OpenMMLab packages, in .venv-original
# make test-oldest   the same tests on the lowest versions that setup.py allows, in .venv-oldest
# make test-long   the long ones too, and the mutation audit
SHELL := /bin/bash
LINE ?= maintained
VENV ?= $(if $(filter maintained,$(LINE)),.venv,.venv-$(LINE))
PYTHON := $(VENV)/bin/python
# what makes the environment: the oldest versions on the oldest Python, where it is there
BASE := $(if $(filter oldest,$(LINE)),$(shell python3.10 -c '' 2>/dev/null && echo python3.10 || echo python3),python3)

.PHONY: help setup demo demo-segmentation benchmark benchmark-gpu test test-oldest test-long test-nan test-compiled audit lint clean

help:
	@sed -n 's/^# //p' Makefile

setup:
	@$(BASE) tools/set_up.py --line $(LINE) --venv $(VENV)

demo: setup
	$(PYTHON) tools/demo.py

demo-segmentation: setup
	$(PYTHON) tools/demo.py --task segmentation

# the CPU tables of docs/benchmarks.md; published:... is timed where the package is installed
PEERS := configs/detection/peers
FASTERVIT_2 := configs/detection/cascade_fastervit_2_3x.py
benchmark: setup
	$(PYTHON) tools/benchmark.py published:faster_vit_2_any_res fastervit_2 fastervit_2+fused \
	  fastervit_2+fused+bf16 published:faster_vit_2_any_res+bf16 \
	  --device cpu --out work_dirs/benchmark/published
	$(PYTHON) tools/benchmark.py $(PEERS)/cascade_swin_t_3x_own.py $(PEERS)/cascade_convnext_t_3x_own.py \
	  $(FASTERVIT_2) $(FASTERVIT_2)+fused --part backbone --device cpu --out work_dirs/benchmark/peers
	$(PYTHON) tools/benchmark.py fastervit_2 fastervit_2+fused --size 640 1280 \
	  --device cpu --out work_dirs/benchmark/sizes

# the GPU tables, on one large card; PYTHON=python3 for an environment of your own
GPU := tools/benchmark.py --device cuda --dtype bf16 --batch 16
benchmark-gpu:
	$(PYTHON) $(GPU) published:faster_vit_2_any_res fastervit_2 fastervit_2+fused \
	  fastervit_2+fused+compiled --out work_dirs/benchmark/gpu_published
	for pair in "tiny 2" "small 3" "base 4"; do set -- $$pair; \
	  $(PYTHON) $(GPU) timm:swin_$${1}_patch4_window7_224 timm:convnext_$$1 fastervit_$$2 \
	    fastervit_$$2+fused --out work_dirs/benchmark/gpu_$$1 || exit 1; done
	$(PYTHON) $(GPU) fastervit_2 fastervit_2+channels_last fastervit_2+checkpointed \
	  --mode train --out work_dirs/benchmark/gpu_train

# one thread a process: two processes of one thread are quicker here than one of two
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests -q -n 2 --dist loadfile
test: setup lint
	$(PYTEST) -m "not long"

test-oldest:
	$(MAKE) test LINE=oldest

# everything: the demo's full training and the mutation audit (docs/testing.md) included
test-long: setup lint
	$(PYTEST)
	$(MAKE) audit

# the same with every uninitialised tensor full of NaN
test-nan: setup
	FILL_UNINITIALISED=1 $(PYTEST) -m "not long"

# mmcv's own operators beside ours: builds them in an environment of its own (11 minutes), and compares
# the demo's evaluation over either
test-compiled:
	@FASTERVIT_MM_OPS=compiled python3 tools/set_up.py --line $(LINE) --venv $(VENV)-compiled
	test -f work_dirs/demo/last_checkpoint || $(VENV)-compiled/bin/python tools/demo.py
	$(VENV)-compiled/bin/python -m pytest tests/operators -q
	$(VENV)-compiled/bin/python -m tests.operators.compare

# how many planted bugs the tests notice: most of two hours on 2 cores
audit: setup
	$(PYTHON) -m pip install -q -e ".[audit]" -c requirements/$(LINE).txt --no-build-isolation
	$(PYTHON) tests/mutation_audit.py

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(PYTHON) -m mypy

clean:
	rm -rf work_dirs data/shapes build *.egg-info fastervit_mm/.mim
