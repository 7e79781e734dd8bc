#!/bin/sh
# Print the image of the stand-in host for a Debian release, and build it if its inputs changed. The base is the image
# of base.sh, or for a layer the image below it.
#
#   image.sh [--name] SUITE [LAYER]
#
# LAYER is a folder here with a Dockerfile. A layer in a subfolder builds on the layer of its parent folder.
#   gpu   The bare machine with a card. Below it: ubuntu, which describes an Ubuntu host; build, build/driver and
#         build/driver/docker.
#   fake  The fake engine and a stand-in card.
# With --name, the script only prints the name of the image, even if the image does not exist.
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
  # The hash covers the contents of links' targets, not their names.
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
# Two scenarios that start at once may need the same image. The second one waits for the first one's build.
locks=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse/images
mkdir -p "$locks"
exec 9>"$locks/$suite${layer:+-$(echo "$layer" | tr / -)}.lock"
if ! flock --nonblock 9; then
  log "waiting for another build of this image"
  flock 9
fi
if docker image inspect "$image" >/dev/null 2>&1; then
  log "unchanged"
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
# The context is a stream, because a layer may contain links to files of another layer. Docker's cache ignores the
# content of hard links. docker build runs without --quiet, so that its output shows the progress.
tar --create --dereference --hard-dereference --exclude=__pycache__ --directory "$folder" . \
  | DOCKER_BUILDKIT=0 docker build --build-arg BASE="$base" --build-arg "$argument" --tag "$image" - >&2
if [ -n "$layer" ]; then # remove images of other inputs, unless a host uses them
  docker images --format '{{.Repository}}:{{.Tag}}' "${image%-*}-*" | grep -E "^${image%-*}-[0-9a-f]{12}$" \
    | grep -vxF "$image" | xargs --no-run-if-empty --max-args 1 docker rmi >/dev/null 2>&1 || true
fi
echo built
echo "$image"
