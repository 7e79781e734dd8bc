#!/usr/bin/env bash
# Remove Roundhouse from the hosts of an inventory: preview, question, teardown. `make uninstall` calls it with
# INVENTORY, MODELS (yes: remove models too), PACKAGES (no: keep packages) and CONFIRM (yes: do not ask).
set -euo pipefail
inventory=$1 models=$2 packages=$3 confirm=$4

choice() { # NAME VALUE: print true for yes, false for no
  case $2 in
    yes) echo true ;;
    no) echo false ;;
    *)
      echo "make uninstall: $1 is '$2'. Write $1=yes or $1=no." >&2
      exit 2
      ;;
  esac
}

models=$(choice MODELS "$models")
packages=$(choice PACKAGES "$packages")
confirmed=$(choice CONFIRM "$confirm")
if [ ! -e "$inventory" ]; then
  echo "make uninstall: INVENTORY is '$inventory', which does not exist. Name a file or a folder." >&2
  exit 2
fi
teardown() {
  ansible-playbook --inventory "$inventory" playbooks/teardown.yml \
    --extra-vars "{\"teardown_models\": $models, \"teardown_packages\": $packages}" "$@"
}

echo "Preview for $inventory; nothing is changed yet:"
teardown --tags preview
if [ "$confirmed" = false ]; then
  if [ ! -t 0 ]; then
    echo "make uninstall: nothing was removed, because stdin is not a terminal. Add CONFIRM=yes to skip the question." >&2
    exit 2
  fi
  read -r -p "Remove this from the hosts of $inventory? [y/N] " answer
  if [[ ! $answer =~ ^[Yy]([Ee][Ss])?$ ]]; then
    echo "Nothing was removed."
    exit 0
  fi
fi
teardown
echo "This checkout, its .venv and ~/.cache/roundhouse on this machine are kept. Delete them by hand if you need to."
