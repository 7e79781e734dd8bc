#!/bin/sh
# Provide a Docker engine for the lab: use a running engine, otherwise start one. As root on Debian and Ubuntu, the
# script also installs the distribution's engine. `docker.sh down` stops only an engine that this script started.
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse
ours=$cache/dockerd.pid
say() { echo "docker: $*" >&2; }
answers() { command -v docker >/dev/null && docker info >/dev/null 2>&1; }

if [ "${1:-up}" = down ]; then
  if [ -f "$ours" ] && [ "$(ps -o comm= -p "$(cat "$ours")")" = dockerd ]; then
    if [ -d /run/systemd/system ]; then systemctl stop docker.socket docker; else kill "$(cat "$ours")"; fi
    say "stopped the engine that the lab had started; the installed packages remain (docker.io, iptables, mmdebstrap)"
  fi
  rm -f "$ours"
  exit 0
fi

if answers; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say "No Docker engine answers the user $(id -un). Start or install one: https://docs.docker.com/engine/install/"
  exit 1
fi
if ! command -v dockerd >/dev/null; then
  say "installing the distribution's engine (docker.io, iptables), which takes about a minute"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker.io iptables >/dev/null
fi
if [ -d /run/systemd/system ]; then
  systemctl start docker
  mkdir -p "$cache"
  systemctl show --property MainPID --value docker >"$ours"
else
  # dockerd refuses to start while its pid file names a live process, even of another program.
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
say "the engine did not answer within 30 seconds: $(tail -n 1 "$cache/dockerd.log" 2>/dev/null)"
exit 1
