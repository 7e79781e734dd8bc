#!/bin/sh
# Install the packages of a bare Debian server that a container image lacks, and the engine's Python.
set -eu
suite=$1
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends \
  systemd systemd-sysv dbus python3 python3-apt iproute2 procps ca-certificates sudo

# The lab's engine needs Python 3.11, because the lock contains PyTorch's CPU wheel for it. Newer releases install it
# from Debian 12's archive, with a pin that keeps other packages at their own release.
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
# A bare host has no current package lists, so the roles must fetch them.
rm -rf /var/lib/apt/lists/*
# Reset the time, because apt's cache check takes a new empty folder for a fresh list.
touch --date=@0 /var/lib/apt/lists
