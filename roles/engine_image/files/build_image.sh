#!/bin/sh
# Build an image with the host's proxy (host_proxy_url), which only root may read. The image's history does not contain
# the proxy, because Docker has these arguments predefined.
#
#   build_image.sh ARGUMENT OF DOCKER BUILD...
set -eu
proxy=${ROUNDHOUSE_PROXY_FILE:-/etc/roundhouse/proxy.env}
if [ -r "$proxy" ]; then
  set -a
  # shellcheck disable=SC1090 # written by roles/host_proxy
  . "$proxy"
  set +a
  # Without a value, the argument has that of the environment.
  set -- --build-arg=HTTP_PROXY --build-arg=HTTPS_PROXY --build-arg=NO_PROXY \
    --build-arg=http_proxy --build-arg=https_proxy --build-arg=no_proxy "$@"
fi
exec docker build "$@"
