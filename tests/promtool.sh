#!/usr/bin/env bash
# Prints the path of promtool, which checks metrics and alert rules; downloads it first if it must.
#
# It is TIDEMILL_TEST_PROMTOOL; else that of Debian's package `prometheus`, unpacked into the cache of tests/real.sh and
# not installed, so that no service starts and nobody has to be root; else the one on PATH.
set -euo pipefail

cache=${TIDEMILL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-tests}

if [ -n "${TIDEMILL_TEST_PROMTOOL:-}" ]; then
  realpath "$TIDEMILL_TEST_PROMTOOL"
  exit
fi

# Lists of its own: as they are on this machine they may be missing, or older than the archive.
own_lists() {
  local options=(-o "Dir::State::lists=$new/lists" -o "Dir::Cache=$new/cache" -o "APT::Sandbox::User=$(id -un)")
  mkdir -p "$new/lists/partial" "$new/cache/archives/partial"
  apt-get "${options[@]}" --quiet update && apt-get "${options[@]}" --quiet download prometheus
}
unpack() {
  cd "$new" &&
    { apt-get -o "APT::Sandbox::User=$(id -un)" --quiet download prometheus || own_lists; } &&
    dpkg -x prometheus_*.deb package && mv package/usr/bin/promtool . && rm -rf package prometheus_*.deb lists cache
}

if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
  version=$(apt-cache policy prometheus 2>/dev/null | sed -n 's/^ *Candidate: \([^(]*\)$/\1/p')
  folder="$cache/promtool-${version:-debian}"
  if [ ! -e "$folder/.complete" ]; then
    began=$SECONDS
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/promtool.XXXXXX")
    if (unpack) >&2; then
      touch "$new/.complete"
      rm -rf "$folder" # left by an interrupted run
      mv "$new" "$folder"
      echo "prepared promtool in $((SECONDS - began)) s" >&2
    else
      rm -rf "$new"
    fi
  fi
  if [ -e "$folder/.complete" ]; then
    echo "$folder/promtool"
    exit
  fi
fi
command -v promtool || {
  echo "promtool is not here: install Prometheus (Debian: prometheus), or name it in TIDEMILL_TEST_PROMTOOL" >&2
  exit 2
}
