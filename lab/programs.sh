#!/bin/sh
# Install the programs that unit tests run for real, if root may use apt. Without one of them its tests are skipped; in
# CI that is an error.
set -eu
missing() { ! command -v "$1" >/dev/null; }

if { missing haproxy || missing cc || missing gpg || missing modinfo || missing tmux; } \
  && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "setup: installing haproxy, gcc, gpg, kmod, openssl and tmux"
  if missing haproxy; then own_haproxy=1; else own_haproxy=; fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    gcc gpg gpg-agent haproxy kmod libc6-dev openssl tmux >/dev/null
  # The package enables and starts an instance. This machine may be a GPU host, whose gateway has its own unit.
  if [ "$own_haproxy" ] && command -v systemctl >/dev/null && [ -d "${ROUNDHOUSE_SYSTEMD:-/run/systemd/system}" ]; then
    systemctl disable --quiet --now haproxy.service
  fi
fi
