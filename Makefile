# make demo   set up, train a small detector on drawn shapes, evaluate it, draw its detections
# make demo-segmentation   the same with a small segmentor
# make test   set up, run the tests
SHELL := /bin/bash
LINE ?= maintained
VENV ?= $(if $(filter maintained,$(LINE)),.venv,.venv-$(LINE))
PYTHON := $(VENV)/bin/python

.PHONY: help setup demo demo-segmentation test test-long lint clean

help:
	@sed -n 's/^# //p' Makefile

setup:
	@python3 tools/set_up.py --line $(LINE) --venv $(VENV)

demo: setup
	$(PYTHON) tools/demo.py

demo-segmentation: setup
	$(PYTHON) tools/demo.py --task segmentation

test: setup lint
	$(PYTHON) -m pytest tests -m "not long" -q

# everything, the demo's full training included
test-long: setup lint
	$(PYTHON) -m pytest tests -q

lint: setup
	$(PYTHON) -m ruff check .

clean:
	rm -rf work_dirs data/shapes build *.egg-info fastervit_mm/.mim
