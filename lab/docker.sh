#!/bin/sh
# A Docker engine for the lab: the one that is there, or, for root on Debian and Ubuntu, the
# distribution's. `docker.sh down` stops an engine that this script started, and no other.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse
ours=$cache/dockerd.pid
say() { echo "docker: $*" >&2; }
answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

if [ "${1:-up}" = down ]; then
  if [ -f "$ours" ] && [ "$(ps -o comm= -p "$(cat "$ours")")" = dockerd ]; then
    if [ -d /run/systemd/system ]; then systemctl stop docker.socket docker; else kill "$(cat "$ours")"; fi
    say "stopped the engine that this lab had started; packages that it installed stay (docker.io, iptables, mmdebstrap)"
  fi
  rm -f "$ours"
  exit 0
fi

if answers; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say "the lab needs a running Docker engine that $(id -un) may use: start it, or install it (https://docs.docker.com/engine/install/)."
  exit 1
fi
if ! command -v dockerd >/dev/null; then
  say "installing the distribution's engine (docker.io, iptables), about a minute"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker.io iptables >/dev/null
fi
if [ -d /run/systemd/system ]; then
  systemctl start docker
  mkdir -p "$cache"
  systemctl show --property MainPID --value docker >"$ours"
else
  # dockerd refuses to start while its pid file names a live process, even if that is another program.
  pid=$(cat /var/run/docker.pid 2>/dev/null || true)
  if [ -n "$pid" ] && [ "$(ps -o comm= -p "$pid")" != dockerd ]; then rm -f /var/run/docker.pid; fi
  mkdir -p "$cache"
  say "starting the engine"
  setsid dockerd >"$cache/dockerd.log" 2>&1 </dev/null &
  echo $! >"$ours"
fi
for _ in $(seq 60); do
  if answers; then say "engine ready"; exit 0; fi
  sleep 0.5
done
say "the engine did not start: $(tail -n 1 "$cache/dockerd.log" 2>/dev/null)"
exit 1
