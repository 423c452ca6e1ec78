# raas: `make help` says what there is. Settings a user may want to change:
config ?= release#   release | debug | sanitize | coverage
CUDA ?= $(if $(shell command -v nvcc 2>/dev/null),1,0)#   1 compiles the device side of the policies too
CC ?= cc
NVCC ?= nvcc
WERROR ?=#   1 makes warnings errors (continuous integration does)
V ?=#   1 shows every compiler call
Q := $(if $(V),,@)
say = @$(if $(V),:,echo '  $1')

MAKEFLAGS += --no-builtin-rules
BUILD := build/$(config)
GEN := $(BUILD)/gen
CFLAGS_release := -O2
CFLAGS_debug := -O0
CFLAGS_sanitize := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_coverage := -O0 --coverage
LDFLAGS_sanitize := -fsanitize=address,undefined
LDFLAGS_coverage := --coverage
CFLAGS := -std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Wshadow -ffp-contract=off -I. $(CFLAGS_$(config)) \
          $(if $(WERROR),-Werror)
LDFLAGS := $(LDFLAGS_$(config))
LDLIBS := -lcjson -lpcre2-8 -lutf8proc -lsqlite3 -lcrypto -lpthread -lm

ROOMS := base engine engine/kernels policies datasets store analysis experiments plots commands
SOURCES := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
REGISTRIES := policies datasets commands
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(REGISTRIES:%=$(GEN)/%.o)
TESTS := $(patsubst tests/%.c,%,$(wildcard tests/test_*.c))
BENCHES := $(patsubst tests/%.c,%,$(wildcard tests/bench_*.c))
SUPPORT := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_% tests/bench_% tests/fuzz_%,$(wildcard tests/*.c)))
FUZZERS := $(patsubst tests/%.c,%,$(wildcard tests/fuzz_*.c))
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: all demo test bench lint fuzz help clean deps tests cuda FORCE
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

all: raas $(if $(filter 1,$(CUDA)),cuda) ## build ./raas (and, with CUDA=1, compile the device code)

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

$(GEN)/%.o: $(GEN)/%.c
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

# The file name is the registration: each folder with plug-ins becomes a table of the structs its files end in.
# A new file in the folder renews the folder's time, and so the table.
$(GEN)/policies.c: policies $(wildcard policies/*.c)
$(GEN)/datasets.c: datasets $(wildcard datasets/*.c)
$(GEN)/commands.c: commands $(wildcard commands/*.c)
$(GEN)/%.c: Makefile
	@mkdir -p $(@D)
	@.ci/registry $* > $@

# One translation unit with every policy's scorers, as the device sees them.
cuda: $(GEN)/policies_device.o ## compile the device code (needs nvcc, no GPU)
$(GEN)/policies_device.cu: $(GEN)/policies.c
	@ls policies/*.c | sed 's/.*/#include "&"/' > $@
$(GEN)/policies_device.o: $(GEN)/policies_device.cu engine/policy.h
	$(call say,nvcc $<)
	$(Q)$(NVCC) -std=c++17 -O2 -fmad=false -I. -c $< -o $@

# the schema inside the program
$(GEN)/schema.h: store/schema.sql .ci/embed
	@mkdir -p $(@D)
	@.ci/embed schema_sql $< > $@

# provenance: the commit, renewed only when it changes
$(GEN)/version.h: FORCE
	@mkdir -p $(@D)
	@echo '#define RAAS_COMMIT "$(VERSION)"' | cmp -s - $@ || echo '#define RAAS_COMMIT "$(VERSION)"' > $@
$(OBJECTS) $(BUILD)/main.o: CFLAGS += -I$(GEN)
$(OBJECTS) $(BUILD)/main.o: | $(GEN)/version.h $(GEN)/schema.h

# --- tests -----------------------------------------------------------------
tests: $(TESTS:%=$(BUILD)/%) $(BENCHES:%=$(BUILD)/%)
$(BUILD)/test_%: $(BUILD)/tests/test_%.o $(SUPPORT) $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/bench_%: $(BUILD)/tests/bench_%.o $(SUPPORT) $(BUILD)/libraas.a
	$(call say,link $@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
.SECONDARY:

# sub-makes use every core unless the caller chose -j
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

test: deps ## install what is missing, build, run every test (ONLY=test_x: just that one)
	@$(SUBMAKE) raas tests
	@./tests/run $(BUILD) $(or $(ONLY),$(TESTS))

bench: deps ## print speeds as ratios of measured floors
	@$(SUBMAKE) raas
	@./raas bench cpu

demo: deps ## install what is missing, build, run the small sweep, print the table, draw the figure
	@$(SUBMAKE) raas
	./raas run experiments/demo.json
	./raas plot accuracy_vs_budget

# --- fuzzing (clang's libFuzzer) ---------------------------------------------
FUZZ_SECONDS ?= 30
fuzz: $(FUZZERS:%=$(BUILD)/%) ## fuzz every reader of foreign files for FUZZ_SECONDS each
	@for f in $(FUZZERS); do mkdir -p $(BUILD)/corpus/$$f; echo "  $$f: $(FUZZ_SECONDS) s"; \
	  ./$(BUILD)/$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=10 -artifact_prefix=$(BUILD)/ \
	    $(BUILD)/corpus/$$f $$(ls -d tests/corpus/$$f 2>/dev/null) >$(BUILD)/$$f.log 2>&1 || { tail -50 $(BUILD)/$$f.log; exit 1; }; done
	@echo "fuzz: $(words $(FUZZERS)) targets, $(FUZZ_SECONDS) s each, nothing found"
FUZZED := $(wildcard base/*.c $(addprefix engine/,weights.c safetensors.c tokenizer*.c config.c))
$(BUILD)/fuzz_%: tests/fuzz_%.c $(FUZZED)
	@mkdir -p $(@D)
	$(call say,fuzz $@)
	$(Q)clang -std=c11 -D_GNU_SOURCE -g -O1 -I. -I$(GEN) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	  -ffp-contract=off $^ -lcjson -lpcre2-8 -lutf8proc -lcrypto -lpthread -lm -o $@

# --- house rules ---------------------------------------------------------------
lint: ## layer check, formatting, file sizes
	@.ci/lint

deps:
	@.ci/packages

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

clean: ## remove what was built (results stay)
	rm -rf build raas

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
