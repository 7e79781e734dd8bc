#!/bin/sh
# Write each lock (*.txt) from its input (*.in), with hashes. `make lock` runs this script.
set -eu
cd "$(dirname "$0")"
uv=$1
eval "$(../lab/env.py)"
compile() {
  name=$1; shift
  "$uv" pip compile --quiet --no-config --generate-hashes --no-annotate \
    --custom-compile-command "make lock" --output-file "$name.txt" "$@" "$name.in"
}
compile dev --universal --python-version 3.11
compile uv --universal --python-version 3.10
compile examples --universal --python-version 3.11
compile docs --universal --python-version 3.11
compile examples-aider --universal --python-version 3.11
compile hub --universal --python-version 3.10
compile collections --no-deps --python-version 3.11
compile demo-model --python-version 3.11 --overrides demo-model.overrides
# This machine's folder of wheels has only CPU wheels.
(unset UV_FIND_LINKS; for of in engine quantize; do compile "$of-cuda" --universal --python-version 3.11; done)
for of in engine quantize; do
  compile "$of-cpu" --python-version 3.11 --overrides engine-cpu.overrides ${LAB_TORCH_BACKEND:+--torch-backend "$LAB_TORCH_BACKEND"}
done
