#!/bin/sh
# Print the image of the stand-in host for a Debian release, building it first unless its inputs are the same as last
# time. Its base is base.sh's, or for a layer the image below it.
#
#   image.sh [--name] SUITE [LAYER]
#
# LAYER is a folder here with a Dockerfile; a folder in it lies on top of it:
#   gpu   the bare machine with a card
#   fake  the fake engine and a stand-in card
# With --name it only prints the name which the image of these inputs has, whether it is there or not.
set -eu
only_name=
if [ "$1" = --name ]; then
  only_name=--name
  shift
fi
suite=$1 layer=${2:-}
here=$(dirname "$(readlink -f "$0")")
log() { echo "image $suite${layer:+ $layer}: $*" >&2; }

if [ -n "$layer" ]; then
  below=$(dirname "$layer" | sed 's/^\.$//')
  base=$("$0" ${only_name:+"$only_name"} "$suite" "$below" | tail -n 1)
  folder=$here/$layer
  # The names of links' targets are nothing to it, only what they hold.
  key=$(cd "$folder" && { echo "$base"; find -L . -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; } \
    | sha256sum | cut -c1-12)
  image=roundhouse-lab:$suite-$(echo "$layer" | tr / -)-$key
else
  folder=$here
  key=$(cat "$here/image.sh" "$here/Dockerfile" "$here/packages.sh" "$here"/lab-port@.* | sha256sum | cut -c1-12)
  image=roundhouse-lab:$suite-$key
fi
if [ -n "$only_name" ]; then
  echo "$image"
  exit 0
fi
# Two scenarios that begin at once may want the same image: the second one waits and finds it.
locks=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse/images
mkdir -p "$locks"
exec 9>"$locks/$suite${layer:+-$(echo "$layer" | tr / -)}.lock"
if ! flock --nonblock 9; then
  log "waiting for another build of it"
  flock 9
fi
if docker image inspect "$image" >/dev/null 2>&1; then
  log "as it was"
  echo "$image"
  exit 0
fi

if [ -n "$layer" ]; then
  tools=$("$0" bookworm | tail -n 1)
  argument=TOOLS=$tools
else
  base=$("$here/base.sh" "$suite")
  argument=SUITE=$suite
fi
log "building on $base"
# As a stream, because a layer may have links to files of another. Not --quiet: it takes a minute, and each line tells
# what it does.
tar --create --dereference --exclude=__pycache__ --directory "$folder" . \
  | DOCKER_BUILDKIT=0 docker build --build-arg BASE="$base" --build-arg "$argument" --tag "$image" - >&2
if [ -n "$layer" ]; then # what was built of other inputs goes, unless a host has it
  docker images --format '{{.Repository}}:{{.Tag}}' "${image%-*}-*" | grep -E "^${image%-*}-[0-9a-f]{12}$" \
    | grep -vxF "$image" | xargs --no-run-if-empty --max-args 1 docker rmi >/dev/null 2>&1 || true
fi
echo built
echo "$image"
