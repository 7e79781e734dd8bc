# The targets that run everything; CI runs nothing else. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
MODEL ?=
# Of `make uninstall`: the inventory, whether to remove the models and the packages, and yes to skip the question.
INVENTORY ?= inventory/local
MODELS ?= no
PACKAGES ?= yes
CONFIRM ?= no
LAB := eval "$$(lab/env.py)";

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Install the tools, as locked, outside the checkout
	@lab/tools.sh

uninstall: setup ## Remove Roundhouse from a host: preview, question, removal (INVENTORY, MODELS, PACKAGES, CONFIRM)
	@lab/uninstall.sh "$(INVENTORY)" "$(MODELS)" "$(PACKAGES)" "$(CONFIRM)"

# Wide enough that no tool wraps a sentence.
lint lint-ansible test test-all: export COLUMNS = 160

lint: setup ## ruff, mypy, prose, shellcheck, yamllint; ansible-lint on what the branch changed (CI=true: on everything)
	@$(MAKE) --no-print-directory --jobs 3 --output-sync lint-python lint-prose lint-shell lint-ansible

lint-python: # part of lint
	ruff check . && ruff format --check .
	mypy

lint-prose: # part of lint
	lab/lint_prose.py

lint-shell: # part of lint
	shellcheck lab/*.sh lab/llama/*.sh lab/fake/*.sh examples/*.sh requirements/*.sh roles/*/files/*.sh .ci/run

lint-ansible: # part of lint
	yamllint --strict .
	lab/lint_ansible.sh

unit: setup ## pytest without a host
	pytest tests/unit -n 2 --dist worksteal

check: lint unit ## Lint and unit tests: no host, some minutes

test: check site hosts ## Lint, unit tests, the documents as a site, the contract with vLLM, the main job
	$(LAB) lab/suites.py contract default

# The longest first. A vLLM that starts keeps one core busy, and what runs beside it has the other.
test-all: test ## All of that, the demo and every other scenario: what CI runs. Removes the demo's host, also a running one
	$(MAKE) --no-print-directory lab-down
	$(LAB) lab/suites.py quantize engines bare-host switch-faults upgrade gateway models demo plays

hosts: setup ## What the tests share: Docker, the engine's environment and its tiny models
	@lab/docker.sh
	@$(LAB) ansible-playbook --inventory inventory/lab lab/prepare.yml

demo: setup ## The main job on the stand-in host, end to end (MODEL=owner/name for a hub's model)
	@lab/docker.sh
	@$(LAB) lab/demo.py $(if $(MODEL),--model $(MODEL))

lab-down: setup ## Remove the stand-in host; keep its caches
	@$(LAB) ansible-playbook --inventory inventory/lab lab/destroy.yml

demo-down: ## Remove everything that demo and test created
	@lab/clean.sh

site: setup ## Build the documents as a site, into site/; a warning fails it
	@$(LAB) NO_MKDOCS_2_WARNING=1 "$$(lab/environment.sh docs)/bin/mkdocs" build --strict --quiet

docs: setup ## Write what commands print into the documents
	docs/generate.py

bench: setup ## Run the benchmarks of plan and switch
	benchmarks/plan.py
	benchmarks/switch.py

bench-host: setup ## Measure runs of site.yml and of the host's roles that have nothing to change, in pings
	@lab/docker.sh
	$(LAB) benchmarks/site_run.py
	$(LAB) molecule converge --scenario-name bare-host
	$(LAB) benchmarks/host_roles.py
	$(LAB) molecule destroy --scenario-name bare-host

bench-pull: setup ## How fast a pull that verifies is, against the hub's bare client (4 GiB, loopback)
	benchmarks/pull.py

mutations: hosts ## Break eight promises, one at a time, and name the test that fails; needs an idle machine
	$(LAB) tests/mutations.py

lock: setup ## Write the locks again from requirements/*.in
	requirements/lock.sh uv
