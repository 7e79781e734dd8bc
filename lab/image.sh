#!/bin/sh
# Print the image of the stand-in host for a Debian release, building it first unless its inputs are
# the same as last time. Base: the public image where a registry answers, else one made with
# mmdebstrap from the package mirror that this machine's apt uses.
#
#   image.sh SUITE [gpu]     gpu: the bare machine with a card, on top of it (lab/gpu)
set -eu
suite=$1 layer=${2:-}
here=$(dirname "$(readlink -f "$0")")
key=$(cat "$here/image.sh" "$here/Dockerfile" "$here/packages.sh" "$here"/lab-port@.* | sha256sum | cut -c1-12)
image=roundhouse-lab:$suite-$key
log() { echo "image $suite: $*" >&2; }


if [ -n "$layer" ]; then
  own=$(cat "$here/$layer"/* "$here/$layer"/*/* 2>/dev/null | sha256sum | cut -c1-12)
  image=roundhouse-lab:$suite-$layer-$key-$own
  if docker image inspect "$image" >/dev/null 2>&1; then
    log "as it was"
    echo "$image"
    exit 0
  fi
  base=$("$0" "$suite" | tail -n 1)
  tools=$("$0" bookworm | tail -n 1)
  log "building on $base"
  DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE="$base" --build-arg TOOLS="$tools" --tag "$image" "$here/$layer" >&2
  echo built
  echo "$image"
  exit 0
fi

if docker image inspect "$image" >/dev/null 2>&1; then
  log "as it was"
  echo "$image"
  exit 0
fi

# A name of our own, also for the public image, so that taking the lab away takes no one else's image.
base=roundhouse-base:$suite
if ! docker image inspect "$base" >/dev/null 2>&1; then
  public=debian:$suite
  if docker image inspect "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
  elif timeout 120 docker pull --quiet "$public" >/dev/null 2>&1; then
    docker tag "$public" "$base"
    docker rmi "$public" >/dev/null
  else
    log "no registry answers: making the base with mmdebstrap"
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
    mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Languages "none"' "$suite" "$root" ${mirror:+"$mirror"}
    docker import "$root" "$base" >/dev/null
  fi
fi
log "building on $base"
DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE="$base" --build-arg SUITE="$suite" --tag "$image" "$here" >&2
echo built
echo "$image"
