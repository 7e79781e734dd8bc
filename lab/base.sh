#!/bin/sh
# Print the name of the bare image of a Debian release, and create the image if it does not exist. The image is the
# public one if a registry answers. Otherwise mmdebstrap creates it from the package mirror of this machine's apt.
#
#   base.sh SUITE
set -eu
suite=$1
log() { echo "base $suite: $*" >&2; }

# The public image gets this name too, so that removing the lab removes no image of another program.
base=roundhouse-base:$suite
if ! docker image inspect "$base" >/dev/null 2>&1; then
  public=debian:$suite
  if docker image inspect "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
  elif log "pulling $public from the registry, for at most two minutes" \
    && timeout 120 docker pull --quiet "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
    docker rmi "$public" >/dev/null
  else
    log "no registry answers; creating the image with mmdebstrap, which takes about a minute"
    if ! command -v mmdebstrap >/dev/null; then
      if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        log "mmdebstrap is not installed. Install it, or make a Docker registry reachable."
        exit 1
      fi
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap >&2
    fi
    mirror=$("$(dirname "$0")/mirror.sh")
    # The archive goes through a file, because a pipe would import an incomplete archive after a failure.
    root=$(mktemp --suffix=.tar)
    trap 'rm -f "$root"' EXIT
    # Check-Valid-Until is off, because a frozen mirror keeps an expired Release file. mmdebstrap runs without --quiet,
    # so that its output shows the progress.
    mmdebstrap --variant=minbase --aptopt='Acquire::Languages "none"' \
      --aptopt='Acquire::Check-Valid-Until "false"' "$suite" "$root" ${mirror:+"$mirror"} >&2
    log "importing the image into Docker"
    docker import "$root" "$base" >/dev/null
  fi
fi
echo "$base"
