#!/bin/sh
# Print the folder of a Python environment for examples/ or the documents, and create it from its lock if needed.
#
#   environment.sh examples|examples-aider|docs
set -eu
lock=$(dirname "$(readlink -f "$0")")/../requirements/$1.txt
target=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse/$1-$(sha256sum "$lock" | cut -c1-12)
if [ ! -e "$target/complete" ]; then
  echo "environment $1: installing the locked packages" >&2
  rm -rf "$target"
  uv venv --quiet --python "$(dirname "$lock")/../.venv/bin/python" "$target"
  uv pip install --quiet --python "$target/bin/python" --require-hashes --requirement "$lock"
  touch "$target/complete"
fi
echo "$target"
