# Everything a developer does. Each target sets itself up from nothing; all it writes stays in this checkout.

# A Python that Airflow runs on: python3 if it is one, else the newest one found. Or say so: make PYTHON=python3.12
PYTHON ?= $(firstword $(foreach candidate,python3 python3.13 python3.12 python3.11,\
	$(if $(shell $(candidate) -c '$(python_fits)' 2>/dev/null && echo yes),$(candidate))))
python_fits := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
UV_VERSION := 0.13.9

venv := .venv
bin := $(venv)/bin
stamp := $(venv)/.installed
benched := $(venv)/.installed-bench
spread := $(venv)/.installed-distributed
moto := .cache/moto
contract := .cache/contract
comma := ,
cache := $(CURDIR)/.cache

TESTS ?= tests/unit tests/integration tests/contract tests/system/test_text_to_video.py \
	tests/system/test_keep.py tests/system/test_many.py
BROWSER_TESTS := tests/system/test_ui.py tests/system/test_video_link.py tests/system/test_emulator_page.py
ARGS ?=

# Without bytecode, each start of Airflow takes three times as long.
unexport PYTHONDONTWRITEBYTECODE
# Nobody's own Airflow may be touched, nor its settings leak into ours.
$(foreach name,$(filter AIRFLOW%,$(.VARIABLES)),$(eval unexport $(name)))
# Downloads and temporary files stay inside the checkout.
export UV_CACHE_DIR ?= $(cache)/uv
export TMPDIR := $(cache)/tmp

.DEFAULT_GOAL := help
.PHONY: help demo up test test-crash test-browser test-observed test-distributed distributed reliability-page \
	screenshots crash takeover many compat contract-latest release-check docs docs-tables \
	lint fix clean bench bench-loop bench-triggerer bench-crowd bench-tasks bench-schedule bench-refused bench-page

help: ## list the targets
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

demo: $(stamp) ## make a video in a real Airflow [PROMPT="…" ASPECT_RATIO=9:16 LOOP=1 GATEWAY=luma; LUMA_SUBSCRIPTION_KEY for the real gateway]
	@$(bin)/python -m dev.demo \
	    $(call given,PROMPT,--prompt "$$PROMPT") \
	    $(call given,ASPECT_RATIO,--aspect-ratio "$$ASPECT_RATIO") \
	    $(call given,GATEWAY,--gateway "$$GATEWAY") \
	    $(if $(filter-out 0 no false,$(LOOP)),$(call given,LOOP,--loop))

# Taken from the command line only: a shell may well export a PROMPT of its own.
given = $(if $(and $(filter command,$(firstword $(origin $(1)))),$($(1))),$(2))

up: $(stamp) ## start Airflow with its UI and an emulated gateway, ready to click, until Ctrl-C [PORT=8080]
	@$(bin)/python -m dev.up $(call given,PORT,--port "$$PORT")

test: $(stamp) $(moto)/.installed ## run what a contributor must pass [ARGS="-k name"] [TESTS=tests/unit]
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest $(TESTS) $(ARGS)

test-crash: $(stamp) ## kill real processes of a real Airflow at each step of a submit, and while it waits
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest tests/system/test_crash.py tests/system/test_crash_whole.py tests/system/test_clear.py \
	    tests/system/test_takeover.py $(ARGS)

test-browser: $(stamp) ## click through a real Airflow in headless Chromium, and start and stop `make up`
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest $(BROWSER_TESTS) tests/system/test_up.py $(ARGS)

test-observed: $(stamp) ## run all examples in a real Airflow that logs all it can, and look through what it wrote
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest tests/system/test_examples.py $(ARGS)
	$(bin)/python -m pytest tests/system/test_secrets.py tests/system/test_lineage.py $(ARGS)

test-distributed: $(spread) ## break a distributed Airflow (PostgreSQL, Redis, Celery), and see what holds
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest tests/system/test_distributed.py $(ARGS)

distributed: $(spread) ## the same with a hundred in flight, then load and soak: 100 minutes; writes benchmarks/results [NAMES=soak]
	@mkdir -p $(TMPDIR)
	LUMA_HOSTILE_RESULTS=$(CURDIR)/benchmarks/results/reliability/hostile.json \
	    $(bin)/python -m pytest -q tests/integration/test_hostile.py
	$(bin)/python -m dev.distributed $(NAMES) $(ARGS)

reliability-page: $(spread) ## write what `make distributed` has shown into docs/reliability.md
	$(bin)/python -m dev.distributed.page

screenshots: $(stamp) ## take the pictures of the docs anew, by the same clicks [all that are taken: .cache/screenshots]
	@mkdir -p $(TMPDIR) $(cache)/screenshots
	LUMA_TEST_SCREENSHOTS=$(cache)/screenshots $(bin)/python -m pytest $(BROWSER_TESTS) $(ARGS)
	@cd docs/images && for picture in *.png; do cp $(cache)/screenshots/$$picture .; done

crash: $(stamp) ## kill a submitting task 100 times and count [RUNS=100]
	@mkdir -p $(TMPDIR)
	$(bin)/python -m dev.crash --runs $(or $(RUNS),100) $(ARGS)

many: $(stamp) ## make fifty videos by mapped tasks and a thousand by a batch, in a real Airflow [MAPPED=50 BATCH=1000]
	@mkdir -p $(TMPDIR)
	LUMA_MAPPED=$(or $(MAPPED),50) LUMA_BATCH=$(or $(BATCH),1000) \
	    $(bin)/python -m pytest tests/system/test_many.py $(ARGS)

takeover: $(stamp) ## kill one of two triggerers while 500 generations are waited for [WAITING=500]
	@mkdir -p $(TMPDIR)
	$(bin)/python -m dev.takeover --waiting $(or $(WAITING),500) \
	    --json benchmarks/takeover-$(or $(WAITING),500).json $(ARGS)

bench: $(benched) ## run the benchmarks in their short forms: some minutes, for the look of it, not for figures
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.schedule --short
	$(bin)/python -m benchmarks.loop --short
	$(bin)/python -m benchmarks.refused --short
	$(bin)/python -m benchmarks.triggerer --short
	$(bin)/python -m benchmarks.crowd --short
	$(bin)/python -m benchmarks.tasks --short

bench-loop: $(stamp) ## measure waits in one event loop, beside other ways to wait; writes benchmarks/results
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.loop $(ARGS)

bench-crowd: $(benched) ## measure thousands of waits in a real triggerer; writes benchmarks/results
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.crowd $(ARGS)

bench-tasks: $(stamp) ## measure what a batch, a submit and an import take; writes benchmarks/results
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.tasks $(ARGS)

bench-triggerer: $(benched) ## measure waits in a real triggerer on PostgreSQL; writes benchmarks/results
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.triggerer $(ARGS)

bench-schedule: $(stamp) ## simulate when to look; writes benchmarks/results
	$(bin)/python -m benchmarks.schedule $(ARGS)

bench-refused: $(stamp) ## have a gateway refuse a thousand waits, and watch them return; writes benchmarks/results
	@mkdir -p $(TMPDIR)
	$(bin)/python -m benchmarks.refused $(ARGS)

bench-page: $(stamp) ## write the figures of benchmarks/results into docs/performance.md
	$(bin)/python -m benchmarks.page

compat: $(stamp) ## test the built wheel beside every Airflow and Python, about 100 minutes [AIRFLOW=3.1 PYTHONS=3.12]
	@mkdir -p $(TMPDIR)
	$(bin)/python -m dev.compat $(foreach one,$(AIRFLOW),--airflow $(one)) $(foreach one,$(PYTHONS),--python $(one)) $(ARGS)

contract-latest: $(stamp) ## hold the requests against the newest of Luma's official SDKs, whatever is pinned
	@mkdir -p $(TMPDIR)
	@$(bin)/uv venv --quiet --clear --python $(bin)/python $(contract)
	@grep -v '^luma' constraints.txt > $(contract)/constraints.txt
	$(call install,$(contract)/constraints.txt,$(contract)/bin/python,-e '.[dev]' lumaai luma-agents)
	@$(bin)/uv pip list --quiet --python $(contract)/bin/python | grep '^luma'
	$(contract)/bin/python -m pytest tests/contract $(ARGS)

release-check: $(stamp) ## build what a release consists of into dist, and look whether it is whole
	@mkdir -p $(TMPDIR)
	$(bin)/python -m pytest tests/system/test_wheel.py tests/unit/test_project.py tests/unit/test_provider_info.py $(ARGS)
	$(bin)/python -m dev.release

docs: $(stamp) ## build the documentation's site into .cache/docs; a warning is an error
	@mkdir -p $(TMPDIR)
	@rm -rf $(cache)/docs
	@$(bin)/python -m sphinx -q -E -n -W --keep-going -d $(cache)/doctrees docs $(cache)/docs $(ARGS)
	@echo 'Open $(cache)/docs/index.html'

docs-tables: $(stamp) ## write the tables that the code has already into the pages of docs
	@mkdir -p $(TMPDIR)
	$(bin)/python -m dev.docs_tables

lint: $(stamp) ## check style and types
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy airflow_provider_luma

fix: $(stamp) ## mend what can be mended of the style
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

clean: ## remove everything that was made here, but for the videos
	rm -rf $(venv) .cache .pytest_cache .ruff_cache .mypy_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,constraints,python,what): installs into an environment; $(bin)/uv must be there.
# uv does not read pip's settings; who has told pip of a mirror means uv as well.
define install
	@mirror="$$($(bin)/python -m pip config get global.index-url 2>/dev/null || true)"; \
	    mirror="$${PIP_INDEX_URL:-$$mirror}"; \
	    if test -z "$$UV_DEFAULT_INDEX$$UV_INDEX_URL" && test -n "$$mirror"; then export UV_DEFAULT_INDEX="$$mirror"; fi; \
	    echo "installing what $(1) pins"; \
	    $(bin)/uv pip install --quiet --python $(2) --compile-bytecode -c $(1) $(3)
endef

$(stamp): pyproject.toml constraints.txt
	@mkdir -p $(TMPDIR)
	@test -n "$(PYTHON)" || { echo 'No Python from 3.11 to 3.13 was found. Name one: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@$(PYTHON) -c '$(python_fits)' || { echo '$(PYTHON) is not a Python from 3.11 to 3.13; name another: make PYTHON=python3.12' >&2; exit 1; }
	@test -x $(bin)/pip || $(PYTHON) -m venv $(venv) || { \
	    rm -rf $(venv); echo 'The virtual environment could not be made. On Debian: apt-get install python3-venv' >&2; exit 1; }
	$(bin)/python -m pip install --quiet --no-cache-dir uv==$(UV_VERSION)
	$(call install,constraints.txt,$(bin)/python,-e '.[dev$(comma)system$(comma)docs]')
	@touch $@

$(benched): $(stamp)
	$(call install,constraints.txt,$(bin)/python,-e '.[bench]')
	@touch $@

$(spread): $(stamp)
	@bash .ci/need redis-server postgresql
	$(call install,constraints.txt,$(bin)/python,-e '.[distributed]')
	@touch $@

$(moto)/.installed: $(stamp) constraints-moto.txt
	@$(bin)/uv venv --quiet --clear --python $(bin)/python $(moto)
	$(call install,constraints-moto.txt,$(moto)/bin/python,'moto[server]')
	@touch $@
