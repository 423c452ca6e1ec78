# raas: `make help` says what there is. Settings a user may want to change:
config ?= release#   release | debug | sanitize | coverage
NVCC ?= nvcc
CUDA ?= $(if $(filter release debug,$(config)),$(if $(shell command -v $(NVCC) 2>/dev/null),1,0),0)#   1: with the CUDA backend
CUDA_ARCH ?= 80 90a#   compute capabilities that get machine code (90a: 9.0 with warpgroups)
CUDA_PTX ?= 90#   later ones compile this one's PTX when the program starts; empty: none
CC ?= cc
CURL ?= 0#   1: raas fetch downloads, through libcurl
WERROR ?=#   1 makes warnings errors (continuous integration does)
V ?=#   1 shows every compiler call
Q := $(if $(V),,@)
say = @$(if $(V),:,echo '  $1')

MAKEFLAGS += --no-builtin-rules
comma := ,
CUDA := $(CUDA)
BUILD := build/$(config)$(if $(filter 1,$(CUDA)),-cuda)
GEN := $(BUILD)/gen
CFLAGS_release := -O2
CFLAGS_debug := -O0
CFLAGS_sanitize := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_coverage := -O0 --coverage
LDFLAGS_sanitize := -fsanitize=address,undefined
LDFLAGS_coverage := --coverage
CFLAGS := -std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Wshadow -ffp-contract=off -I. -I$(GEN) $(CFLAGS_$(config)) \
          $(if $(WERROR),-Werror)
# the run path is for the bundle, whose libraries lie beside the program
LDFLAGS := $(LDFLAGS_$(config)) -Wl,-rpath,'$$ORIGIN/lib:$$ORIGIN/../lib'
# where pkg-config doesn't know it: Debian's names of the serial library. Linked statically where that can be: the shared
# one brings libcurl and 20 more
HDF5_CFLAGS := $(shell pkg-config --cflags hdf5-serial 2>/dev/null || pkg-config --cflags hdf5 2>/dev/null || \
                 echo -I/usr/include/hdf5/serial)
HDF5_L := $(shell pkg-config --libs-only-L hdf5-serial 2>/dev/null || pkg-config --libs-only-L hdf5 2>/dev/null || \
            echo -L/usr/lib/$$($(CC) -dumpmachine)/hdf5/serial)
HDF5_LIBS := $(HDF5_L) $(if $(wildcard $(patsubst -L%,%/libhdf5_hl.a,$(HDF5_L))),\
               -Wl$(comma)-Bstatic -lhdf5_hl -lhdf5 -lsz -laec -Wl$(comma)-Bdynamic -ldl,-lhdf5_hl -lhdf5) -lz
LDLIBS := -lmpfr -lgmp -lcjson -lpcre2-8 -lutf8proc -lsqlite3 $(HDF5_LIBS) -lcrypto -lpthread -lm

ifeq ($(CURL),1)
CFLAGS += -DRAAS_CURL
LDLIBS += -lcurl
endif

ROOMS := base engine engine/kernels policies datasets store analysis experiments plots commands
SOURCES := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
GPU_TESTS := $(patsubst tests/%.c,%,$(wildcard tests/test_cuda_*.c))
ifeq ($(CUDA),1)
CUDA_TOP := $(shell $(NVCC) -dryrun -E -x cu /dev/null 2>&1 | sed -n 's/^.. TOP=//p')
ifeq ($(CUDA_TOP),)
$(error CUDA=1 needs nvcc, and '$(NVCC)' is not it: put it on the PATH, name it with NVCC=..., or build with CUDA=0)
endif
NVCC_HELP := $(shell $(NVCC) --help)
SOURCES := $(filter-out engine/cuda_none.c,$(SOURCES))
KERNELS := $(wildcard engine/kernels/*.cu)
CFLAGS += -DRAAS_CUDA -isystem $(CUDA_TOP)/include
LDLIBS += -L$(CUDA_TOP)/lib64 -L$(CUDA_TOP)/lib -lcudart_static -ldl -lrt
else
SOURCES := $(filter-out $(filter-out engine/cuda_none.c,$(wildcard engine/cuda*.c)),$(SOURCES))
endif
NVFLAGS := -std=c++17 -O2 -lineinfo -I. -I$(GEN) $(if $(WERROR),--Werror all-warnings) \
           $(if $(findstring compress-mode,$(NVCC_HELP)),-compress-mode=size,-Xfatbin -compress-all) \
           -Xcompiler -Wall,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-ffp-contract=off \
           $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a,code=sm_$a) \
           $(foreach a,$(CUDA_PTX),-gencode arch=compute_$a,code=compute_$a)
REGISTRIES := policies datasets commands
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(KERNELS:%.cu=$(BUILD)/%.o) $(REGISTRIES:%=$(GEN)/%.o)
TESTS := $(filter-out $(if $(filter 1,$(CUDA)),,$(GPU_TESTS)),$(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))
BENCHES := $(patsubst tests/%.c,%,$(wildcard tests/bench_*.c))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_% tests/bench_% tests/fuzz_%,$(wildcard tests/*.c)))
FUZZERS := $(patsubst tests/%.c,%,$(wildcard tests/fuzz_*.c))
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: all demo repro pictures test test-gpu test-slurm tokenizer-check bench bundle lint fuzz help clean deps tests gpu-tests FORCE
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

all: raas ## build ./raas (CUDA=0|1: without or with the CUDA backend; 1 where nvcc is found)

# always: another config may have left the link pointing at its own build
raas: $(BUILD)/raas FORCE
	@ln -sf $< $@

$(BUILD)/raas: $(BUILD)/main.o $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/libraas.a: $(OBJECTS)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,cc   $<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# What decides like the host (the policies' rules) rounds like the host.
$(BUILD)/engine/kernels/cuda_rules%.o: NVFLAGS += -fmad=false
$(BUILD)/%.o: %.cu $(GEN)/nvflags
	@mkdir -p $(@D)
	$(call say,nvcc $<)
	$(Q)$(NVCC) $(NVFLAGS) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(BUILD)/store/attn%.o: CFLAGS += $(HDF5_CFLAGS)

$(GEN)/%.o: $(GEN)/%.c
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# The file name is the registration: each folder with plug-ins becomes a table of the structs its files end in.
# A new file in the folder renews the folder's time, and so the table.
$(GEN)/policies.c: policies $(wildcard policies/*.c)
$(GEN)/datasets.c: datasets $(wildcard datasets/*.c)
$(GEN)/commands.c: commands $(wildcard commands/*.c)
$(GEN)/%.c: Makefile .ci/registry
	@mkdir -p $(@D)
	@.ci/registry $* > $@

# the scorers of all policies behind one switch each: what device code sees of policies/
$(GEN)/policies_device.h: policies $(wildcard policies/*.c) Makefile .ci/registry
	@mkdir -p $(@D)
	@.ci/registry scorers > $@

# the schema inside the program
SCHEMAS := schema schema_analysis schema_sweep schema_shadow schema_explain
$(GEN)/schema.h: $(SCHEMAS:%=store/%.sql) Makefile .ci/embed
	@mkdir -p $(@D)
	@for s in $(SCHEMAS); do .ci/embed $${s}_sql store/$$s.sql || exit 1; done > $@

# the report's style and script inside the program
$(GEN)/report_parts.h: plots/report.css plots/report.js .ci/embed
	@mkdir -p $(@D)
	@{ .ci/embed report_css plots/report.css; .ci/embed report_js plots/report.js; } > $@

# provenance: the commit, renewed only when it changes
$(GEN)/version.h: FORCE
	@mkdir -p $(@D)
	@echo '#define RAAS_COMMIT "$(VERSION)"' | cmp -s - $@ || echo '#define RAAS_COMMIT "$(VERSION)"' > $@

# other architectures make other objects
$(GEN)/nvflags: FORCE
	@mkdir -p $(@D)
	@echo "$(NVFLAGS)" | cmp -s - $@ || echo "$(NVFLAGS)" > $@

GENERATED := $(GEN)/version.h $(GEN)/schema.h $(GEN)/policies_device.h $(GEN)/report_parts.h
$(OBJECTS) $(BUILD)/main.o: | $(GENERATED)
$(BUILD)/tests/%.o: | $(GENERATED)

# --- tests -----------------------------------------------------------------
tests: $(TESTS:%=$(BUILD)/%) $(BENCHES:%=$(BUILD)/%)
$(BUILD)/test_%: $(BUILD)/tests/test_%.o $(SUPPORT) $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/bench_%: $(BUILD)/tests/bench_%.o $(SUPPORT) $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
.SECONDARY:
gpu-tests: $(GPU_TESTS:%=$(BUILD)/%)

# The bundle has all GPU tests in one program: they share the kernels, and it does what the name it is called by says.
$(BUILD)/gpu_tests: $(GPU_TESTS:%=$(BUILD)/gpu/%.o) $(GEN)/gpu_tests.o $(SUPPORT) $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/gpu/%.o: $(BUILD)/tests/%.o
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=main_$* $< $@
$(GEN)/gpu_tests.c: $(GPU_TESTS:%=tests/%.c) Makefile .ci/one_program
	@mkdir -p $(@D)
	@.ci/one_program $(GPU_TESTS) > $@

# sub-makes use every core unless the caller chose -j
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

test: deps ## install what is missing, build, run every test (ONLY=test_x: just that one)
	@$(SUBMAKE) raas tests
	@./tests/run $(BUILD) $(or $(ONLY),$(TESTS))

test-gpu: deps ## build with CUDA and run what needs a GPU (fails where none is)
	@$(SUBMAKE) CUDA=1 raas gpu-tests
	@tests/gpu-check build/$(config)-cuda

test-slurm: deps ## a sweep on a real Slurm of one node and under GNU parallel (root; minutes; installs slurm-wlm, parallel)
	@.ci/packages slurm-wlm munge parallel sqlite3
	@$(SUBMAKE) raas
	@tests/slurm-check $(BUILD)/raas

# goldens of real tokenizers: too big to keep, made by the library itself ($(PYTHON) with PyPI's tokenizers)
PYTHON ?= python3
TOKENIZER_CHECK ?= build/tokenizer-check
tokenizer-check: deps ## compare tokenizers with the Hugging Face library: TOKENIZERS=DIR (NAME/tokenizer.json), PYTHON=python3
	@$(SUBMAKE) raas $(BUILD)/test_tokenizer_check
	@[ -f $(TOKENIZER_CHECK)/TOKENIZERS ] || [ -n "$(TOKENIZERS)" ] || \
	  { echo 'tokenizer-check: needs TOKENIZERS=DIR, a folder of NAME/tokenizer.json'; exit 2; }
	@[ -f $(TOKENIZER_CHECK)/TOKENIZERS ] || \
	  $(PYTHON) tests/golden/make_tokenizer_check.py $(TOKENIZERS) $(TOKENIZER_CHECK)
	@TOKENIZER_CHECK=$(TOKENIZER_CHECK) $(BUILD)/test_tokenizer_check

bundle: deps ## build/bundle and its archive: raas, model and GPU tests for an x86-64 Linux with nothing installed
	@$(SUBMAKE) raas $(if $(filter 1,$(CUDA)),$(BUILD)/gpu_tests)
	@.ci/bundle $(BUILD) build/bundle $(if $(filter 1,$(CUDA)),$(GPU_TESTS))

bench: deps ## print speeds as ratios of measured floors
	@$(SUBMAKE) raas
	@./raas bench cpu

demo: deps ## install what is missing, build, run the small sweep, print the table, draw the figure
	@$(SUBMAKE) raas
	./raas run experiments/demo.json
	./raas plot accuracy_vs_budget

repro: deps ## every experiment of the paper, its figures and the report: SCALE=smoke|full MODEL= BACKEND=cpu|cuda
	@$(SUBMAKE) raas
	@experiments/repro

# a head that reads lemmas, under the threshold that the proof chose (results/reference/miner_proof.txt)
LOOK := results/attn/full/lemmas-16-1-0.h5
LOOK_AT := --layer 5 --head 1 --theta 0.6
pictures: deps ## draw every picture of attention, from fresh decodes of the embedded model
	@$(SUBMAKE) raas
	./raas analyze --dataset lemmas:steps=16 --n 20
	@for f in $(patsubst plots/%.gp,%,$(filter-out %_style.gp,$(wildcard plots/mined_*.gp))); do echo "./raas plot $$f"; ./raas plot $$f || exit; done
	./raas record --dataset lemmas:steps=16 --mode full --solution gold --out results/attn/full
	./raas plot attention $(LOOK)
	./raas plot attention $(LOOK) $(LOOK_AT) --from 198 --to 268
	./raas plot lifelines $(LOOK) $(LOOK_AT)

# --- fuzzing (clang's libFuzzer) ---------------------------------------------
FUZZ_SECONDS ?= 30
fuzz: $(FUZZERS:%=$(BUILD)/%) ## fuzz every reader of foreign files for FUZZ_SECONDS each
	@for f in $(FUZZERS); do mkdir -p $(BUILD)/corpus/$$f; echo "  $$f: $(FUZZ_SECONDS) s"; \
	  ./$(BUILD)/$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -artifact_prefix=$(BUILD)/ \
	    $(BUILD)/corpus/$$f $$(ls -d tests/corpus/$$f 2>/dev/null) >$(BUILD)/$$f.log 2>&1 || { tail -50 $(BUILD)/$$f.log; exit 1; }; done
	@echo "fuzz: $(words $(FUZZERS)) targets, $(FUZZ_SECONDS) s each, nothing found"
FUZZED := $(wildcard base/*.c datasets/grade*.c \
  $(addprefix engine/,weights.c shards.c safetensors.c dtype.c gguf*.c tokenizer*.c config.c))
$(BUILD)/fuzz_%: tests/fuzz_%.c $(FUZZED)
	@mkdir -p $(@D)
	$(call say,fuzz $@)
	$(Q)clang -std=c11 -D_GNU_SOURCE -g -O1 -I. -I$(GEN) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -ffp-contract=off $^ -lmpfr -lgmp -lcjson -lpcre2-8 -lutf8proc -lcrypto -lpthread -lm -o $@

# --- house rules ---------------------------------------------------------------
lint: ## layer check, formatting, file sizes
	@.ci/lint

deps:
	@.ci/packages

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

clean: ## remove what was built (results stay)
	rm -rf build raas

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
