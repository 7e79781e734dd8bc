#!/bin/sh
# The controller's tools, exactly as locked, in an environment outside the checkout that is kept
# under a key of its inputs; .venv and .collections in the checkout are links to it.
set -eu
cd "$(dirname "$0")/.."
log() { echo "setup: $*"; }

python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: Python 3.11 or later is needed: install it, or name it with make PYTHON=/path/of/python3." >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    log "installing python3-venv"
    apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
  else
    echo "setup: Python's venv module is needed: install it (Debian, Ubuntu: sudo apt-get install python3-venv)." >&2
    exit 1
  fi
fi

# What unit tests run for real. Without one of them its tests say that they were skipped; in CI that is an error.
if { ! command -v haproxy || ! command -v cc || ! command -v gpg; } >/dev/null && [ "$(id -u)" = 0 ] \
  && command -v apt-get >/dev/null; then
  log "installing haproxy, gcc and gpg"
  apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc gpg gpg-agent haproxy libc6-dev >/dev/null
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse
key=$({ "$python" --version; cat requirements/dev.txt requirements/collections.txt requirements.yml lab/tools.sh; } | sha256sum | cut -c1-12)
target=$cache/tools-$key
if [ ! -e "$target/complete" ]; then
  log "installing the tools, about half a minute"
  rm -rf "$target"
  mkdir -p "$cache"
  "$python" -m venv "$target"
  # pip brings uv, and uv the rest, in a third of the time. It reads none of pip's settings: it gets them.
  "$target/bin/pip" install -qq --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
  index=$("$target/bin/pip" config get global.index-url 2>/dev/null || true)
  certificates=${PIP_CERT:-$("$target/bin/pip" config get global.cert 2>/dev/null || true)}
  env ${index:+UV_DEFAULT_INDEX="$index"} ${certificates:+SSL_CERT_FILE="$certificates"} \
    "$target/bin/uv" pip install --quiet --no-config --python "$target/bin/python" --require-hashes --compile-bytecode \
    --requirement requirements/dev.txt
  # Galaxy is not needed: PyPI's ansible package carries the collections of requirements.yml.
  log "unpacking the collections"
  "$target/bin/pip" download -qq --disable-pip-version-check --no-deps --require-hashes \
    --requirement requirements/collections.txt --dest "$target/download"
  "$target/bin/python" - "$target" <<'PYTHON'
import pathlib, sys, zipfile, yaml
target = pathlib.Path(sys.argv[1])
wanted = [entry["name"] for entry in yaml.safe_load(open("requirements.yml"))["collections"]]
prefixes = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in wanted)
archive = zipfile.ZipFile(next((target / "download").glob("ansible-*.whl")))
archive.extractall(target / "collections", [name for name in archive.namelist() if name.startswith(prefixes)])
PYTHON
  rm -r "$target/download"
  # What modules take along to a host (module_utils in ansible.cfg): NVIDIA's own NVML client, one file.
  mkdir "$target/module_utils"
  ln -s "$("$target/bin/python" -c 'import pynvml; print(pynvml.__file__)')" "$target/module_utils/pynvml.py"
  touch "$target/complete"
fi
if [ -e .venv ] && [ ! -L .venv ]; then
  echo "setup: .venv is a folder of your own, and the tools need the name: move it away." >&2
  exit 1
fi
ln -sfn "$target" .venv
ln -sfn "$target/collections" .collections
log "tools ready"
