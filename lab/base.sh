#!/bin/sh
# Print the bare image of a Debian release, making it first unless it is there: the public image where a registry
# answers, else one made with mmdebstrap from the package mirror that this machine's apt uses.
#
#   base.sh SUITE
set -eu
suite=$1
log() { echo "base $suite: $*" >&2; }

# A name of our own, also for the public image, so that taking the lab away takes no one else's image.
base=roundhouse-base:$suite
if ! docker image inspect "$base" >/dev/null 2>&1; then
  public=debian:$suite
  if docker image inspect "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
  elif log "asking the registry for $public, for two minutes at most" \
    && timeout 120 docker pull --quiet "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
    docker rmi "$public" >/dev/null
  else
    log "no registry answers: making the base with mmdebstrap, which takes a minute"
    if ! command -v mmdebstrap >/dev/null; then
      if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        log "make a Docker registry reachable, or install mmdebstrap"
        exit 1
      fi
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap >&2
    fi
    # shellcheck disable=SC2016 # apt expands it, not the shell
    mirror=$(apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' --format '$(REPO_URI)' | head -n 1)
    # Through a file: a pipe would import whatever there was when mmdebstrap failed.
    root=$(mktemp --suffix=.tar)
    trap 'rm -f "$root"' EXIT
    # A mirror may stand still: then what a suite in the making says of its own age is over. Not --quiet: each line tells
    # what it does.
    mmdebstrap --variant=minbase --aptopt='Acquire::Languages "none"' \
      --aptopt='Acquire::Check-Valid-Until "false"' "$suite" "$root" ${mirror:+"$mirror"} >&2
    log "importing it into Docker"
    docker import "$root" "$base" >/dev/null
  fi
fi
echo "$base"
