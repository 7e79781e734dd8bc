# The words that run everything; CI runs nothing else. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
MODEL ?=
LAB := eval "$$(lab/env.py)";

.PHONY: help setup lint lint-python lint-shell lint-ansible unit test test-more demo demo-down lab-down check docs site bench bench-host bench-pull lock

help: ## List the words
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install the tools, as locked, outside the checkout
	@lab/tools.sh

# Wide enough that no tool wraps a sentence.
lint lint-ansible test: export COLUMNS = 160

lint: setup ## ruff, mypy, shellcheck, yamllint; ansible-lint on what the branch changed (CI=true: on everything)
	@$(MAKE) --no-print-directory --jobs 3 --output-sync lint-python lint-shell lint-ansible

lint-python: # part of lint
	ruff check . && ruff format --check .
	mypy

lint-shell: # part of lint
	shellcheck lab/*.sh lab/llama/*.sh lab/fake/*.sh examples/*.sh requirements/*.sh roles/*/files/*.sh .ci/run

lint-ansible: # part of lint
	yamllint --strict .
	lab/lint_ansible.sh

unit: setup ## pytest without a host
	pytest tests/unit -n 2 --dist worksteal

check: lint unit ## Lint and unit tests: no host, some minutes

test: check site ## What proves it: lint, unit, the demo, contract, molecule on Debian 12 and 13; over an hour
	$(MAKE) demo
	$(MAKE) lab-down
	$(LAB) ansible-playbook --inventory inventory/lab lab/prepare.yml
	pytest tests/contract
	$(LAB) molecule test --scenario-name switch-faults
	$(LAB) molecule test --scenario-name default
	$(LAB) molecule test --scenario-name bare-host
	$(LAB) molecule test --scenario-name models

# CI has no time for these. Before a release they are run by hand.
test-more: setup ## The rest: upgrades, real quantising, the gateway on hosts
	@lab/docker.sh
	$(LAB) ansible-playbook --inventory inventory/lab lab/prepare.yml
	$(LAB) molecule test --scenario-name upgrade
	$(LAB) molecule test --scenario-name quantise
	$(LAB) molecule test --scenario-name gateway

demo: setup ## The main job on the stand-in host, end to end (MODEL=owner/name for a real model)
	@lab/docker.sh
	@$(LAB) lab/demo.py $(if $(MODEL),--model $(MODEL))

lab-down: setup ## Take the stand-in host away, keep its caches
	@$(LAB) ansible-playbook --inventory inventory/lab lab/destroy.yml

demo-down: ## Take away everything that demo and test made
	@lab/clean.sh

site: setup ## Build the documents as a site, into site/; a warning fails it
	@NO_MKDOCS_2_WARNING=1 "$$(lab/environment.sh docs)/bin/mkdocs" build --strict --quiet

docs: setup ## Write what commands print into the documents
	docs/generate.py

bench: setup ## Measure what is promised to be fast
	benchmarks/plan.py
	benchmarks/switch.py

bench-host: setup ## Measure a run of the host's roles that has nothing to change, in pings
	@lab/docker.sh
	$(LAB) molecule converge --scenario-name bare-host
	$(LAB) benchmarks/host_roles.py
	$(LAB) molecule destroy --scenario-name bare-host
bench-pull: setup ## How fast a pull that verifies is, against the hub's bare client (4 GiB, loopback)
	benchmarks/pull.py

lock: setup ## Write the locks again from requirements/*.in
	requirements/lock.sh uv
