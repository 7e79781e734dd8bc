#!/bin/sh
# Remove the whole lab: hosts, images, volumes, the Docker engine that the lab started, and the caches.
set -eu
# Ansible runs each executable file of an inventory folder with --list. The check protects the lab if this folder is
# used as an inventory by mistake.
[ $# -eq 0 ] || { echo "clean.sh takes no arguments. It removes the whole lab." >&2; exit 2; }
cd "$(dirname "$0")/.."
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  for host in $(docker ps --all --quiet --filter label=roundhouse.lab); do docker rm --force "$host" >/dev/null; done
  for volume in $(docker volume ls --quiet --filter name=^roundhouse-lab-); do docker volume rm "$volume" >/dev/null; done
  for image in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep -E '^roundhouse-(lab|base):'); do
    docker rmi --force "$image" >/dev/null
  done
  # Build stages of the layers have no image name.
  docker image prune --force --filter label=roundhouse.lab=tools >/dev/null
fi
lab/docker.sh down
rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse"
if ls .venv/roundhouse-* >/dev/null 2>&1; then rm -rf .venv; fi # keep an environment that lab/tools.sh did not create
[ ! -L .collections ] || rm .collections
echo "lab: removed"
