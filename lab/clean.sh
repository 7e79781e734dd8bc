#!/bin/sh
# Leave nothing of the lab: hosts, images, volumes, the engine that it started, the caches.
set -eu
# Ansible runs any executable of a folder taken for an inventory, with --list.
[ $# -eq 0 ] || { echo "clean.sh takes no argument: it removes the whole lab." >&2; exit 2; }
cd "$(dirname "$0")/.."
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  for host in $(docker ps --all --quiet --filter label=roundhouse.lab); do docker rm --force "$host" >/dev/null; done
  for volume in $(docker volume ls --quiet --filter name=^roundhouse-lab-); do docker volume rm "$volume" >/dev/null; done
  for image in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep -E '^roundhouse-(lab|base):'); do
    docker rmi --force "$image" >/dev/null
  done
  # The stages that make what layers need have no name.
  docker image prune --force --filter label=roundhouse.lab=tools >/dev/null
fi
lab/docker.sh down
rm -rf "${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse"
if ls .venv/roundhouse-* >/dev/null 2>&1; then rm -rf .venv; fi # not an environment of the user's own
[ ! -L .collections ] || rm .collections
echo "lab: nothing is left"
