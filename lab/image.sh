#!/bin/sh
# Print the image of the stand-in host for a Debian release, building it first unless its inputs are
# the same as last time. Its base is base.sh's.
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

base=$("$here/base.sh" "$suite")
log "building on $base"
DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE="$base" --build-arg SUITE="$suite" --tag "$image" "$here" >&2
echo built
echo "$image"
