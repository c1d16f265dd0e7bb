# `make demo` and `make test` do all set-up themselves, in $(VENV).
#
# PYTHON       interpreter that creates the environment, 3.11 or newer
# TORCH        the torch to test with; only `test`, `lint` and `gpu-check` install it
# TORCH_INDEX  package index to take TORCH from, for example a CPU-only one; empty means pip's own choice
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
PICTURE ?= tests/data/kodim23.png
# CHECKPOINT   .pt to ship as a student, its .json beside it; CALIBRATION: folder or .tar of photographs that are not Kodak's
CHECKPOINT ?=
CALIBRATION ?=
TESTS ?= tests
# PREFIX       where `make c-library` installs
PREFIX ?= build/c

BIN = $(abspath $(VENV))/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILT_FROM = setup.py pyproject.toml $(wildcard kernels/build.py kernels/*/*.cpp kernels/*/*.h kernels/include/fastlic/*.h)

.PHONY: demo test lint student sanitize fuzz format c-library golden gpu-check clean

demo: $(VENV)/runtime-ready ## compress and decode a photograph; pictures go to demo/
	$(BIN)/python -m fastlic.benchmarks.demo $(PICTURE) --output demo

test: $(VENV)/dev-ready ## every test; TESTS=tests/unit for a part
	$(BIN)/python -m pytest -q $(TESTS)

lint: $(VENV)/dev-ready ## style, format, types; type checkers cannot follow an editable install, so links show the layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typing/fastlic
	ln -sfn $(addprefix $(CURDIR)/,$(wildcard fastlic/*) runtime kernels export benchmarks) build/typing/fastlic
	cd build/typing && $(BIN)/mypy --config-file ../../pyproject.toml -p fastlic

student: $(VENV)/dev-ready ## export CHECKPOINT, verified, to the students in the package; its card is written by hand
	$(BIN)/fastlic export $(CHECKPOINT) --calibration $(CALIBRATION) --force \
	  --output runtime/students/$(basename $(notdir $(CHECKPOINT))).licb

sanitize: $(VENV)/dev-ready ## what feeds hostile bytes to native code, under address and undefined behaviour sanitizers
	FASTLIC_SANITIZE=address,undefined $(BIN)/python setup.py --quiet build_ext --inplace --force
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 $(BIN)/python -m pytest -q tests/unit/entropy tests/conformance tests/hostile; \
	  status=$$?; $(BIN)/python setup.py --quiet build_ext --inplace --force; exit $$status

fuzz: $(VENV)/dev-ready ## a minute of damaged and forged files through parser, decoder and the sanitized C library
	cd tests && $(BIN)/python -m fuzz --seconds 60 --keep $(CURDIR)/build/fuzz

format: $(VENV)/dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

c-library: $(VENV)/runtime-ready ## compile the C library and lay it out in PREFIX; docs/c-api.md
	$(BIN)/python -m fastlic.kernels.c_api build $(PREFIX)

golden: $(VENV)/dev-ready ## add the golden files of students that have none yet; those that are there never change
	cd tests && $(BIN)/python -m conformance.golden_files

gpu-check: $(VENV)/dev-ready ## tests that need a GPU; without one they are skipped with the reason
	$(BIN)/python -m pytest -q -rs tests/gpu

clean:
	rm -rf $(VENV) build demo dist *.egg-info kernels/*.so

$(VENV)/runtime-ready: $(BUILT_FROM) | $(VENV)
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/dev-ready: $(BUILT_FROM) | $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	FASTLIC_REQUIRE_NATIVE=1 $(PIP_INSTALL) --editable '.[export,bench,dev]'
	@touch $@ $(VENV)/runtime-ready

$(VENV):
	$(PYTHON) -m venv $(VENV)
