#!/bin/sh
# Install a component as its vendor's instructions say, before Roundhouse has seen the host. Runs on a stand-in host and
# during the build of an image, where neither systemd nor the repositories run.
#
#   lab-by-hand driver VERSION | docker-list | docker-sources | distribution-docker | toolkit-list VERSION
set -eu
export DEBIAN_FRONTEND=noninteractive
. /etc/os-release
vendors=http://127.0.0.1:8899
keys=/usr/share/keyrings
get() {
  apt-get install --quiet --yes --no-install-recommends -o DPkg::Path=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
# The lab's repositories alone: Debian's archive is slow, and its packages are in apt's cache.
read_sources() {
  for source in "$@"; do
    apt-get update --quiet -o Dir::Etc::sourcelist="$source" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0
  done
}

if [ ! -d /run/systemd/system ]; then
  python3 -m http.server --bind 127.0.0.1 --directory /srv/lab/repository 8899 >/dev/null 2>&1 &
  server=$!
  # Maintainer scripts may only enable units.
  cat >/usr/local/sbin/systemctl <<'SHIM'
#!/bin/sh
case "$*" in
  "enable --now "*) shift 2; exec /usr/bin/systemctl enable "$@" ;;
  "enable "*) exec /usr/bin/systemctl "$@" ;;
esac
SHIM
  chmod 755 /usr/local/sbin/systemctl
  trap 'kill $server; rm -f /usr/local/sbin/systemctl' EXIT
fi
until python3 -c "import socket; socket.create_connection(('127.0.0.1', 8899))" 2>/dev/null; do sleep 0.1; done
if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then apt-get update --quiet; fi

case $1 in
  driver)
    # NVIDIA's package cuda-keyring installs this list and key.
    install -m 644 /srv/lab/repository/key $keys/cuda-archive-keyring.asc
    folder=$vendors/cuda/debian$VERSION_ID/x86_64
    echo "deb [signed-by=$keys/cuda-archive-keyring.asc] $folder/ /" >/etc/apt/sources.list.d/cuda.list
    read_sources /etc/apt/sources.list.d/cuda.list
    # NVIDIA's packages block nouveau.
    printf 'blacklist nouveau\n' >/etc/modprobe.d/nvidia-blacklists-nouveau.conf
    # NVIDIA's package nvidia-driver-pinning-RELEASE has this pin. Here the owner removes it after the installation.
    printf 'Package: *nvidia* libcuda*\nPin: version %s-1\nPin-Priority: 1001\n' "$2" >/etc/apt/preferences.d/pinning
    get --allow-downgrades dkms linux-headers-amd64 nvidia-driver-cuda nvidia-kernel-open-dkms
    rm /etc/apt/preferences.d/pinning
    systemctl enable nvidia-persistenced.service
    update-initramfs -u -k all
    ;;
  docker-list | docker-sources)
    install -m 755 -d /etc/apt/keyrings
    install -m 644 /srv/lab/repository/docker/linux/debian/gpg /etc/apt/keyrings/docker.asc
    folder=$vendors/docker/linux/debian source=/etc/apt/sources.list.d/docker.${1#docker-}
    if [ "$1" = docker-list ]; then
      echo "deb [arch=$(dpkg --print-architecture) signed-by=/etc/apt/keyrings/docker.asc] $folder $VERSION_CODENAME stable" \
        >"$source"
    else
      printf '%s\n' "Types: deb" "URIs: $folder" "Suites: $VERSION_CODENAME" "Components: stable" \
        "Signed-By: /etc/apt/keyrings/docker.asc" >"$source"
    fi
    read_sources "$source"
    get docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin
    ;;
  distribution-docker)
    if [ "$VERSION_CODENAME" = bookworm ]; then get docker.io; else get docker.io docker-cli docker-compose; fi
    ;;
  toolkit-list)
    install -m 644 /srv/lab/repository/libnvidia-container/gpgkey $keys/nvidia-container-toolkit-keyring.asc
    # NVIDIA's list has $(ARCH), which apt replaces.
    # shellcheck disable=SC2016
    printf 'deb [signed-by=%s/nvidia-container-toolkit-keyring.asc] %s/libnvidia-container/stable/deb/$(ARCH) /\n' \
      $keys $vendors >/etc/apt/sources.list.d/nvidia-container-toolkit.list
    read_sources /etc/apt/sources.list.d/nvidia-container-toolkit.list
    # shellcheck disable=SC2046 # one word for each package
    get $(for name in nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools \
      libnvidia-container1; do echo "$name=$2-1"; done)
    ;;
  *)
    echo "lab-by-hand: unknown component: $1" >&2
    exit 2
    ;;
esac
