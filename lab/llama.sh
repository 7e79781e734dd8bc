#!/bin/sh
# Serve one of the lab's models with llama.cpp in a container, and print its address. Use it to try `bench --against`.
#
#   llama.sh AGENT [CONTAINER]
set -eu
agent=$1 container=${2:-roundhouse-lab-llama}
here=$(dirname "$(readlink -f "$0")")
key=$(cat "$here/base.sh" "$here"/llama/* | sha256sum | cut -c1-12)
image=roundhouse-lab:llama-$key
if ! docker image inspect "$image" >/dev/null 2>&1; then
  echo "llama: building the image, which takes several minutes" >&2
  # Debian packages llama.cpp since forky.
  base=$("$here/base.sh" forky)
  DOCKER_BUILDKIT=0 docker build --build-arg BASE="$base" --tag "$image" "$here/llama" >&2
fi
docker rm --force "$container" >/dev/null 2>&1 || true
docker run --detach --rm --init --name "$container" --label roundhouse.lab=llama --memory 2g \
  --volume roundhouse-lab-models:/srv/lab/models:ro "$image" "/srv/lab/models/$agent" "$agent" >/dev/null
address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$container")
for _ in $(seq 60); do
  if python3 -c "import urllib.request as u; u.urlopen('http://$address:8080/health', timeout=2)" 2>/dev/null; then
    echo "http://$address:8080"
    exit 0
  fi
  sleep 1
done
docker logs "$container" 2>&1 | tail -n 20 >&2
echo "llama: $container did not answer within a minute. Read its log above." >&2
exit 1
