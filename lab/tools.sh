#!/bin/sh
# Install the controller's locked tools and the package into the checkout's .venv, unless they are already installed.
set -eu
cd "$(dirname "$0")/.."
log() { echo "setup: $*"; }

python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: Python 3.11 or later not found. Install it, or name it with make PYTHON=/path/of/python3." >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    log "installing python3-venv"
    apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
  else
    echo "setup: Python's venv module not found. Install it (Debian, Ubuntu: sudo apt-get install python3-venv)." >&2
    exit 1
  fi
fi

lab/programs.sh
if command -v apt-get >/dev/null; then
  lab/haproxy.sh >/dev/null || log "without HAProxy 3.0, the fuzzer of the gateway runs against the installed release alone"
fi

root=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse
key() { { "$python" --version; cat "$@" lab/tools.sh; } | sha256sum | cut -c1-12; }

# All checkouts share uv and the collections.
shared=$cache/tools-$(key requirements/uv.txt requirements/collections.txt requirements.yml)
if [ ! -e "$shared/complete" ]; then
  log "installing uv and the collections"
  rm -rf "$shared"
  mkdir -p "$cache"
  "$python" -m venv "$shared"
  "$shared/bin/pip" install -qq --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
  # Galaxy is not needed, because PyPI's ansible package contains the collections of requirements.yml.
  "$shared/bin/pip" download -qq --disable-pip-version-check --no-deps --require-hashes \
    --requirement requirements/collections.txt --dest "$shared/download"
  "$python" - "$shared" <<'PYTHON'
import pathlib, re, sys, zipfile
target = pathlib.Path(sys.argv[1])
wanted = re.findall(r"^  - name: (\S+)$", pathlib.Path("requirements.yml").read_text(), re.MULTILINE)
prefixes = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in wanted)
archive = zipfile.ZipFile(next((target / "download").glob("ansible-*.whl")))
archive.extractall(target / "collections", [name for name in archive.namelist() if name.startswith(prefixes)])
PYTHON
  rm -r "$shared/download"
  touch "$shared/complete"
fi

# The checkout's own environment contains the tools and the package itself, editable. uv links the files from its cache.
mark=.venv/roundhouse-$(key requirements/uv.txt requirements/dev.txt pyproject.toml)
if [ ! -e "$mark" ] || [ "$(cat "$mark")" != "$root" ]; then
  if [ -L .venv ] || ls .venv/roundhouse-* >/dev/null 2>&1; then
    rm -rf .venv
  elif [ -e .venv ]; then
    echo "setup: The folder .venv was not created by lab/tools.sh, which needs this name. Rename it." >&2
    exit 1
  fi
  log "installing the tools"
  "$python" -m venv .venv
  touch .venv/roundhouse-incomplete
  # uv does not read pip's settings, so they are passed to it.
  index=$("$shared/bin/pip" config get global.index-url 2>/dev/null || true)
  certificates=${PIP_CERT:-$("$shared/bin/pip" config get global.cert 2>/dev/null || true)}
  install() {
    env ${index:+UV_DEFAULT_INDEX="$index"} ${certificates:+SSL_CERT_FILE="$certificates"} \
      "$shared/bin/uv" pip install --quiet --no-config --python .venv/bin/python "$@"
  }
  install --require-hashes --requirement requirements/uv.txt --requirement requirements/dev.txt
  install --no-deps --editable .
  # Ansible copies NVIDIA's NVML client, one file, to a host with each module (module_utils in ansible.cfg).
  mkdir .venv/module_utils
  ln -s "$(.venv/bin/python -c 'import pynvml; print(pynvml.__file__)')" .venv/module_utils/pynvml.py
  rm .venv/roundhouse-incomplete
  echo "$root" >"$mark"
fi
ln -sfn "$shared/collections" .collections
log "tools ready"
