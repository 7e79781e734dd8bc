# Sourced, not run: how this machine reaches packages, so that the lab's hosts reach them the same way.
#   LAB_PACKAGE_ENVIRONMENT  JSON of variables for pip and uv inside a lab host
#   LAB_TORCH_BACKEND        "cpu" lets uv ask PyTorch's own index; empty where pip's configuration
#                            of this machine already names a place with the wheel
#   LAB_CERTIFICATES, LAB_WHEELS  files and folders to mount into a lab host, or empty
pip_config() { python3 -m pip config get "$1" 2>/dev/null || true; }

LAB_CERTIFICATES=${PIP_CERT:-$(pip_config global.cert)}
[ -n "$LAB_CERTIFICATES" ] && [ -f "$LAB_CERTIFICATES" ] || LAB_CERTIFICATES=
LAB_WHEELS=
for place in ${PIP_FIND_LINKS:-$(pip_config global.find-links)}; do
  if [ -n "$(find "$place" -maxdepth 1 -name 'torch-*+cpu-*.whl' 2>/dev/null | head -n 1)" ]; then LAB_WHEELS=$place; fi
done
LAB_TORCH_BACKEND=cpu
[ -z "$LAB_WHEELS" ] || LAB_TORCH_BACKEND=
index=${PIP_INDEX_URL:-$(pip_config global.index-url)}
pairs=
add() { pairs="$pairs${pairs:+, }\"$1\": \"$2\""; }
[ -z "$LAB_CERTIFICATES" ] || { add SSL_CERT_FILE /srv/lab/certificates.crt; add PIP_CERT /srv/lab/certificates.crt; }
[ -z "$LAB_WHEELS" ] || add UV_FIND_LINKS /srv/lab/wheels
[ -z "$index" ] || { add PIP_INDEX_URL "$index"; add UV_DEFAULT_INDEX "$index"; }
for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
  value=$(printenv "$name" || true)
  [ -z "$value" ] || add "$name" "$value"
done
LAB_PACKAGE_ENVIRONMENT="{$pairs}"
export LAB_PACKAGE_ENVIRONMENT LAB_TORCH_BACKEND LAB_CERTIFICATES LAB_WHEELS
[ -z "$LAB_WHEELS" ] || export UV_FIND_LINKS="$LAB_WHEELS"
