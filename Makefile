# `make demo` and `make test` do all set-up themselves, in $(VENV).
#
# PYTHON       interpreter that creates the environment, 3.11 or newer
# TORCH        the torch to test with; only `test`, `lint` and `gpu-check` install it
# TORCH_INDEX  package index to take TORCH from, for example a CPU-only one; empty means pip's own choice
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
# LIBRARY      that students of its checkpoint format are compared with; tests skip where there is no wheel of it
LIBRARY ?= compressai==1.2.8
PICTURE ?= tests/data/kodim23.png
# CHECKPOINT   .pt to ship as a student, its .json beside it; CALIBRATION: folder or .tar of photographs that are not Kodak's
CHECKPOINT ?=
CALIBRATION ?=
# KODAK        folder of the Kodak pictures, for `bench`
KODAK ?=
TESTS ?= tests
# PREFIX       where `make c-library` installs
PREFIX ?= build/c

BIN = $(abspath $(VENV))/bin
BENCH = $(BIN)/fastlic bench
REPORT = --json build/bench/$(1).json --html build/bench/$(1).html --markdown docs/performance.md
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILT_FROM = setup.py pyproject.toml $(wildcard kernels/build.py kernels/*/*.cpp kernels/*/*.h kernels/include/fastlic/*.h)

.PHONY: demo test lint bench bench-quick student sanitize fuzz format c-library golden gpu-check gpu-wheels tensorrt-check clean

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

bench: $(VENV)/dev-ready ## the tables of docs/performance.md that name this command; KODAK=FOLDER, on an idle machine
	mkdir -p build/bench
	-$(BENCH) $(PICTURE) --threads 1 --count 3 --seconds 0 --rounds 9 --peer quick --json benchmarks/baseline.json
	-$(BENCH) $(addprefix $(KODAK)/,kodim05.png kodim07.png kodim23.png) --seconds 2 --peer all $(call REPORT,comparison) \
	  --table latency --table stages --table comparison
	-$(BENCH) $(PICTURE) --threads 1 --count 3 --seconds 1 --throughput --kernels $(call REPORT,kernels) \
	  --table throughput --table kernels
	-$(BENCH) $(PICTURE) 768x512 1216x832 1920x1080 3840x2160 6000x4000 --threads 2 --count 2 --seconds 0 \
	  $(call REPORT,growth) --table growth --table scaling

bench-quick: $(VENV)/dev-ready ## ratios to two other codecs beside the committed ones; warns where one became worse
	$(BENCH) $(PICTURE) --threads 1 --count 3 --seconds 0 --rounds 5 --peer quick --baseline benchmarks/baseline.json

student: $(VENV)/dev-ready ## export CHECKPOINT, verified, to the students in the package; its card is written by hand
	$(BIN)/fastlic export $(CHECKPOINT) --calibration $(CALIBRATION) --force \
	  --output runtime/students/$(basename $(notdir $(CHECKPOINT))).licb

sanitize: $(VENV)/dev-ready ## what feeds hostile bytes to native code, under address and undefined behaviour sanitizers
	FASTLIC_SANITIZE=address,undefined $(BIN)/python setup.py --quiet build_ext --inplace --force
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 $(BIN)/python -m pytest -q tests/unit/entropy tests/conformance tests/hostile tests/fuzz/test_inputs.py; \
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

# ONLY         parts of gpu-check by the beginnings of their names, such as "build kernels decode"; empty runs all
# MINUTES      after which it begins no more parts and stops the last one
# STUDENTS     bundles that it decodes for time besides those of the repository
# WHEELS       what `make gpu-wheels` has collected: nothing is fetched, and torch is that of PYTHON's own environment
ONLY ?=
MINUTES ?=
STUDENTS ?=
WHEELS ?=

gpu-check: $(VENV)/gpu-ready ## kernels, tests, timings on this machine's GPU; without one, the reason. KODAK=folder for its pictures
	$(BIN)/python -m fastlic.benchmarks.gpu_check $(if $(KODAK),--kodak $(KODAK)) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(addprefix --student ,$(STUDENTS))

gpu-wheels: $(VENV)/runtime-ready ## collect in WHEELS what gpu-check needs on a machine without network; PYTHON is of its version
	$(BIN)/python -m fastlic.benchmarks.gpu_wheels $(WHEELS) --python $(PYTHON)

# TENSORRT_INCLUDE  folder of TensorRT's public headers, to compile the C++ plugin and the example; optional
TENSORRT_INCLUDE ?=

tensorrt-check: $(VENV)/dev-ready ## NVIDIA's own parser, builder and bindings on every student; needs no GPU
	$(PYTHON) -m venv $(VENV)-tensorrt
	$(VENV)-tensorrt/bin/python -m pip install --quiet --disable-pip-version-check \
	  hypothesis pytest setuptools pybind11 onnx onnx-ir tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs
	$(VENV)-tensorrt/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tensorrt-cu13-bindings
	FASTLIC_REQUIRE_NATIVE=1 $(VENV)-tensorrt/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	FASTLIC_TENSORRT_CHECK=1 FASTLIC_TENSORRT_INCLUDE=$(TENSORRT_INCLUDE) $(VENV)-tensorrt/bin/python -m pytest -q -rs \
	  tests/unit/engines/test_tensorrt_binding.py tests/unit/engines/test_tensorrt_rtx.py \
	  tests/unit/kernels/test_tensorrt_plugin.py tests/unit/kernels/test_tensorrt_ptx.py
	FASTLIC_TENSORRT_CHECK=1 $(BIN)/python -m pytest -q tests/unit/export/test_preparation.py

examples-check: ## examples/ray_transcode.py on a local cluster of two workers, which are killed
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/python -m pip install --quiet --disable-pip-version-check pytest 'ray[data]>=2.60'
	FASTLIC_REQUIRE_NATIVE=1 $(VENV)-ray/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	$(VENV)-ray/bin/python -m pytest -q -rs tests/cluster

clean:
	rm -rf $(VENV) $(VENV)-tensorrt $(VENV)-ray build demo dist *.egg-info kernels/*.so

$(VENV)/runtime-ready: $(BUILT_FROM) | $(VENV)
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/dev-ready: $(BUILT_FROM) | $(VENV)
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	FASTLIC_REQUIRE_NATIVE=1 $(PIP_INSTALL) --editable '.[bench,dev,distill,export]'
	-$(PIP_INSTALL) --no-deps tensorrt-cu13-bindings # a test holds our calls against it; skipped without it
	-$(PIP_INSTALL) --no-deps --only-binary :all: $(LIBRARY)
	@touch $@ $(VENV)/runtime-ready

ifeq ($(WHEELS),)
# pycuda is compiled against the CUDA toolkit; where there is none, gpu-check says what is missing.
$(VENV)/gpu-ready: $(VENV)/dev-ready
	-$(BIN)/python -m fastlic.benchmarks.gpu_wheels build/wheels --python $(BIN)/python --fetch \
	  && FASTLIC_REQUIRE_NATIVE=1 $(PIP_INSTALL) --find-links build/wheels --editable '.[gpu]' && touch $@
else
# The environment sees the packages of PYTHON's own, pip among them; what is in WHEELS comes before those.
$(VENV)/gpu-ready: $(BUILT_FROM) | $(VENV)
	$(PYTHON) -c 'import site; print(*site.getsitepackages(), sep="\n")' \
	  > "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/parent.pth"
	FASTLIC_REQUIRE_NATIVE=1 $(PIP_INSTALL) --no-index --find-links $(WHEELS) --no-build-isolation --editable '.[gpu]'
	@touch $@
endif

$(VENV):
	$(PYTHON) -m venv $(if $(and $(WHEELS),$(filter gpu-check,$(MAKECMDGOALS))),--without-pip) $(VENV)
