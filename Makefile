# The targets that set up, check and run the project. CI runs only these. `make help` lists them.
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

setup: ## Install the locked tools into .venv
	@lab/tools.sh

uninstall: setup ## Remove Roundhouse from a host, after a preview and a question (INVENTORY, MODELS, PACKAGES, CONFIRM)
	@lab/uninstall.sh "$(INVENTORY)" "$(MODELS)" "$(PACKAGES)" "$(CONFIRM)"

# Wide, so that no tool wraps a line.
lint lint-quick lint-ansible test test-all: export COLUMNS = 160

lint: setup ## Run all linters; ansible-lint only on changed files (CI=true: on all files)
	@$(MAKE) --no-print-directory --jobs 3 --output-sync lint-python lint-prose lint-shell lint-ansible

lint-quick: setup # lint without ansible-lint, which takes minutes on one core and is a suite of test and test-all
	@$(MAKE) --no-print-directory --jobs 3 --output-sync lint-python lint-prose lint-shell

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

unit: setup ## Run the unit tests, without a host
	pytest tests/unit -n 2 --dist worksteal --durations 20

check: lint unit ## Run lint and the unit tests, without a host (some minutes)

test: lint-quick unit site hosts ## Run check, build the documents, test the contract with vLLM and the main job (about 13 minutes)
	$(LAB) lab/suites.py contract default lint-ansible

# All of test, with its suites and the others in one pool, so that no core waits between two pools. The longest suites
# come first. A starting vLLM uses one core, so two suites run at a time.
test-all: lint-quick unit site hosts ## Run test, the demo and the other scenarios, as CI does; removes a running stand-in host
	$(MAKE) --no-print-directory lab-down
	$(LAB) lab/suites.py quantize engines contract bare-host upgrade switch-faults gateway plays models kernel-update default lint-ansible demo

real-hosts: hosts ## Run the host roles on 25 hosts in states of real hosts, and print the table (about 10 minutes)
	$(LAB) lab/suites.py real-hosts

rhel: hosts ## Run the host roles, a kernel update and a teardown on stand-ins of Rocky Linux 9 and 10 (about 10 minutes)
	$(LAB) lab/suites.py rhel

hosts: setup ## Prepare what the tests share: Docker, the engine's environment, small models
	@lab/docker.sh
	@$(LAB) ansible-playbook --inventory inventory/lab lab/prepare.yml

demo: setup ## Run the main job on the stand-in host (MODEL=owner/name: a model of the hub)
	@lab/docker.sh
	@$(LAB) lab/demo.py $(if $(MODEL),--model $(MODEL))

lab-down: setup ## Remove the stand-in host; keep its caches
	@$(LAB) ansible-playbook --inventory inventory/lab lab/destroy.yml

demo-down: ## Remove everything that demo and test created
	@lab/clean.sh

site: setup ## Build the documents as a site in site/; fail at a warning
	@$(LAB) NO_MKDOCS_2_WARNING=1 "$$(lab/environment.sh docs)/bin/mkdocs" build --strict --quiet

docs: setup ## Write the generated blocks and files of the documents
	docs/generate.py

bench: setup ## Run the benchmarks of commands, plan and switch
	benchmarks/command.py
	benchmarks/plan.py
	benchmarks/switch.py

bench-gateway: setup ## Compare the gateway with an HAProxy that only forwards, and hold 1,000 requests (needs an idle machine)
	benchmarks/gateway.py
	benchmarks/gateway_rate.py
	benchmarks/gateway_held.py

bench-gateway: setup ## Compare the gateway with an HAProxy that only forwards, and hold 1,000 requests (needs an idle machine)
	benchmarks/gateway.py
	benchmarks/gateway_rate.py
	benchmarks/gateway_held.py

bench-host: setup ## Measure unchanged runs of site.yml and of the host roles, in units of an Ansible ping
	@lab/docker.sh
	$(LAB) benchmarks/site_run.py
	$(LAB) molecule converge --scenario-name bare-host
	$(LAB) benchmarks/host_roles.py
	$(LAB) molecule destroy --scenario-name bare-host

bench-pull: setup ## Compare a verified download with the hub's client alone (4 GiB on loopback; needs an idle machine)
	benchmarks/pull.py

mutations: hosts ## Break eight properties, one at a time, and name the test that fails (needs an idle machine)
	$(LAB) tests/mutations.py

lock: setup ## Write the locks of requirements/*.in
	requirements/lock.sh uv
