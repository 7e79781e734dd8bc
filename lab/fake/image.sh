#!/bin/sh
# Build the fake engine's image of a version and push it to the host's own registry; print what its tag means now.
#
#   lab-image v0.33.0 [NOTE]     NOTE: another one makes other bytes of the same tag
set -eu
tag=$1 note=${2:-}
image=localhost:5000/vllm:$tag
# Quiet, and what it said only where it failed.
said=$(DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE=roundhouse-base:bookworm --build-arg VERSION="${tag#v}-lab" \
  --build-arg NOTE="$note" --tag "$image" /srv/lab/engine 2>&1) || { echo "$said" >&2; exit 1; }
docker push --quiet "$image" >/dev/null
docker image inspect --format '{{index .RepoDigests 0}}' "$image"
