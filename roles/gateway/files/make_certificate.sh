#!/bin/sh
# make_certificate.sh FILE: write a self-signed certificate for this host's names, valid for ten years, with its key.
# gateway_certificate names another certificate.
set -eu
umask 077
target=$1
aside=$(mktemp -d)
trap 'rm -rf "$aside"' EXIT
names="DNS:localhost,DNS:$(hostname),IP:127.0.0.1"
full=$(hostname --fqdn || true) # fails where the name does not resolve
[ -z "$full" ] || [ "$full" = "$(hostname)" ] || names="$names,DNS:$full"
for address in $(hostname -I); do names="$names,IP:$address"; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$(hostname)" \
  -addext "subjectAltName=$names" -keyout "$aside/key" -out "$aside/certificate" 2>"$aside/said" ||
  { cat "$aside/said" >&2; exit 1; }
cat "$aside/certificate" "$aside/key" >"$target.new"
chown root:roundhouse-gateway "$target.new"
chmod 640 "$target.new"
mv "$target.new" "$target"
