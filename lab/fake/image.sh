#!/bin/sh
# Build the fake engine's image of a version, push it to the host's own registry, and print the digest of its tag.
#
#   lab-image v0.33.0 [NOTE]     another NOTE gives the same tag another digest
set -eu
tag=$1 note=${2:-}
image=localhost:5000/vllm:$tag
# The output of the build is shown only if it fails.
said=$(DOCKER_BUILDKIT=0 docker build --quiet --build-arg BASE=roundhouse-base:bookworm --build-arg VERSION="${tag#v}-lab" \
  --build-arg NOTE="$note" --tag "$image" /srv/lab/engine 2>&1) || { echo "$said" >&2; exit 1; }
docker push --quiet "$image" >/dev/null
docker image inspect --format '{{index .RepoDigests 0}}' "$image"
