#!/bin/sh
# Print the address of the Debian mirror of this machine's apt, empty if it has none.
set -eu
# shellcheck disable=SC2016 # apt expands it, not the shell
apt-get indextargets 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' --format '$(REPO_URI)' | head -n 1
