#!/bin/sh
# Print the folder of a program `haproxy` of Debian 13 (3.0), for the fuzzer of the gateway. The first call downloads the
# packages, about 14 MB, from the mirror of this machine's apt, and unpacks them into a cache. Nothing is installed.
#
#   haproxy.sh [--cached]    --cached: download nothing, and exit with 1 if the cache does not have it
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
folder=${XDG_CACHE_HOME:-$HOME/.cache}/roundhouse/haproxy-$suite-$(sha256sum "$here/haproxy.sh" | cut -c1-12)

if [ ! -e "$folder/complete" ]; then
  if [ "${1:-}" = --cached ]; then exit 1; fi
  if [ ! -e "$keyring" ]; then
    echo "setup: $keyring not found, so HAProxy of Debian $suite is not downloaded. Install debian-archive-keyring." >&2
    exit 1
  fi
  mkdir -p "${folder%/*}"
  work=$(mktemp --directory --tmpdir="${folder%/*}" haproxy.XXXXXX)
  trap 'rm -rf "$work"' EXIT
  mirror=$("$here/mirror.sh")
  if [ -z "$mirror" ]; then
    echo "setup: apt has no Debian mirror, so HAProxy of Debian $suite is not downloaded. Run the tests on Debian." >&2
    exit 1
  fi
  mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root/bin"
  : >"$work/state/status" # nothing is installed, so the libraries are downloaded too
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
  cat >"$work/apt.conf" <<APT
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Debug::NoLocking "true";
APT
  APT_CONFIG=$work/apt.conf apt-get update -qq >&2
  APT_CONFIG=$work/apt.conf apt-get install -qq --yes --download-only haproxy >&2
  for package in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$work/root"
  done
  # The libraries are of another release than this machine's, so the program runs with their loader. HAProxy starts
  # itself again by its own name, which is this script.
  cat >"$work/root/bin/haproxy" <<'PROGRAM'
#!/bin/sh
root=$(dirname "$(dirname "$0")")
loader=$(echo "$root"/usr/lib/*/ld-linux-*.so.*)
exec "$loader" --argv0 "$0" --library-path "${loader%/*}" "$root/usr/sbin/haproxy" "$@"
PROGRAM
  chmod 755 "$work/root/bin/haproxy"
  "$work/root/bin/haproxy" -v >/dev/null
  touch "$work/root/complete"
  rm -rf "$folder"
  mv "$work/root" "$folder"
fi
echo "$folder/bin"
