#!/bin/sh
# What a bare Debian server has and a container image has not, plus the engine's Python.
set -eu
suite=$1
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends \
  systemd systemd-sysv dbus python3 python3-apt iproute2 procps ca-certificates sudo

# The lab's engine is built for Python 3.11 (PyTorch's CPU wheel of the lock). Debian 12 has it; a
# newer release takes it from Debian 12's archive, at a priority that no other package follows.
if ! apt-get install --quiet --yes --no-install-recommends python3.11; then
  sed "s/$suite/bookworm/g" /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null \
    | sed -E '/^(deb-src|#)/d' >/tmp/bookworm
  if grep -q '^Types:' /tmp/bookworm; then ending=sources; else ending=list; fi
  mv /tmp/bookworm "/etc/apt/sources.list.d/bookworm.$ending"
  printf 'Package: *\nPin: release n=bookworm*\nPin-Priority: 100\n' >/etc/apt/preferences.d/bookworm
  apt-get update --quiet
  apt-get install --quiet --yes --no-install-recommends python3.11
  rm "/etc/apt/sources.list.d/bookworm.$ending" /etc/apt/preferences.d/bookworm
fi
apt-get clean
# A bare host has no package lists younger than its image: the roles must fetch their own.
rm -rf /var/lib/apt/lists/*
# An empty folder made just now would pass for a fresh list.
touch --date=@0 /var/lib/apt/lists
