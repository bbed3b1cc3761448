#!/usr/bin/env bash
# The suite on real components: Apache Kafka, versitygw (S3) and moto (Glue), with DuckDB as the reader
# and Chromium for the dashboard.
#
#   tests/real.sh [pytest arguments]        e.g.  tests/real.sh -k two-hosts -s
#
# Needs Java 17+ and Maven, Go, Python 3.11+, Chromium, runc and the Rust toolchain; Linux. Everything else is downloaded once
# into ${TIDEMILL_TEST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/tidemill-tests}, keyed by version: a second run downloads
# nothing.
# TIDEMILL_BIN names a binary to test; without it `cargo build --release` makes one. TIDEMILL_FAILPOINT_BIN names one
# that tests can kill at named points; without it a dev build with the feature `failpoints` makes one.
# test_terraform.py needs terraform on PATH. TIDEMILL_TEST_TERRAFORM_MIRROR names a folder with the provider, if it is
# not to be downloaded.
# promtool, which checks metrics, is Debian's where there is apt; else it must be on PATH (tests/promtool.sh).
# runc, which runs what the image holds, asks for root: without, TIDEMILL_TEST_RUNC=none and --ignore test_container.py.
# Servers listen on 127.0.0.1 only, on ports that are free.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
real="$root/tests/real"
cache=${TIDEMILL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-tests}
versitygw=v1.8.0
compose=v2.16.2

missing=0
need() { # need COMMAND "what to install" [check]
  command -v "$1" >/dev/null 2>&1 && { [ $# -lt 3 ] || eval "$3" >/dev/null 2>&1; } && return
  echo "tests/real.sh needs $1: install $2" >&2
  missing=1
}
# shellcheck disable=SC2016  # `need` evaluates it
need java "a Java runtime, 17 or later (Debian: default-jre-headless)" \
  '[ "$(java -version 2>&1 | sed -n "s/.*version \"\([0-9]*\).*/\1/p;" | head -1)" -ge 17 ]'
need javac "a Java compiler of the same version (Debian: default-jdk-headless)"
need mvn "Maven 3.8 or later (Debian: maven)"
need go "Go 1.21 or later (Debian: golang)"
need python3 "Python 3.11 or later with venv (Debian: python3 python3-venv)" \
  'python3 -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"'
chromium=${TIDEMILL_TEST_CHROMIUM:-chromium}
[ "$chromium" = none ] || need "$chromium" "Chromium, or set TIDEMILL_TEST_CHROMIUM to one (Debian: chromium)"
[ "${TIDEMILL_TEST_RUNC:-}" = none ] || need runc "runc, or set TIDEMILL_TEST_RUNC=none (Debian: runc)"
need cargo "Rust (rustup reads the version from rust-toolchain.toml)"
[ $missing = 0 ] || exit 2

# prepare NAME FOLDER COMMAND...: runs COMMAND with $new, a fresh folder that becomes FOLDER once it succeeded.
prepare() {
  local name=$1 folder=$2 began=$SECONDS
  shift 2
  if [ -e "$folder/.complete" ]; then
    echo "have $name"
    return
  fi
  echo "preparing $name ..."
  rm -rf "$folder" # left by an interrupted run
  mkdir -p "$folder"
  new=$folder "$@" || { echo "tests/real.sh could not prepare $name (see above)" >&2; exit 1; }
  touch "$folder/.complete"
  echo "prepared $name in $((SECONDS - began)) s"
}
key() { cat "$@" | sha256sum | cut -c1-12; } # of the contents, so that every checkout shares the cache

# shellcheck disable=SC2154  # `prepare` sets `new`
python_packages() {
  python3 -m venv "$new" && "$new/bin/pip" install --quiet --no-deps --requirement "$real/requirements.txt" &&
    "$new/bin/pip" check
}
go_program() { (cd "$new" && GOBIN="$new" go install "$1"); }

venv="$cache/python-$(key "$real/requirements.txt" <(python3 --version))"
gateway="$cache/versitygw-$versitygw"
prepare "Python packages" "$venv" python_packages
kafka=$(TIDEMILL_TEST_CACHE="$cache" "$root/tests/kafka_jars.sh")
prepare "versitygw $versitygw" "$gateway" go_program "github.com/versity/versitygw/cmd/versitygw@$versitygw"
# The reader of Compose files that Docker Compose has, as a program.
prepare "compose-go $compose" "$cache/compose-go-$compose" go_program "github.com/compose-spec/compose-go/v2/cmd@$compose"
promtool=$(TIDEMILL_TEST_CACHE="$cache" "$root/tests/promtool.sh")

if [ -z "${TIDEMILL_BIN:-}" ]; then
  began=$SECONDS
  (cd "$root" && cargo build --release --locked)
  TIDEMILL_BIN="${CARGO_TARGET_DIR:-$root/target}/release/tidemill"
  echo "built tidemill in $((SECONDS - began)) s"
fi
TIDEMILL_BIN=$(realpath "$TIDEMILL_BIN")

if [ -z "${TIDEMILL_FAILPOINT_BIN:-}" ]; then
  began=$SECONDS
  (cd "$root" && cargo build --quiet --locked -p tidemill --features failpoints --bin tidemill-failpoints)
  TIDEMILL_FAILPOINT_BIN="${CARGO_TARGET_DIR:-$root/target}/debug/tidemill-failpoints"
  echo "built tidemill-failpoints in $((SECONDS - began)) s"
fi
TIDEMILL_FAILPOINT_BIN=$(realpath "$TIDEMILL_FAILPOINT_BIN")

# The transforms that ship, compiled by the command that users have. The names of this script's own settings
# look like those of the product: they are kept from it.
if [ -z "${TIDEMILL_TEST_TRANSFORMS:-}" ]; then
  began=$SECONDS
  # shellcheck disable=SC2046
  (cd "$root" && env $(compgen -e | sed -n 's/^TIDEMILL_/-u &/p') "$TIDEMILL_BIN" build)
  TIDEMILL_TEST_TRANSFORMS="$root/transforms"
  echo "built the transforms in $((SECONDS - began)) s"
fi

TIDEMILL_TEST_CHROMIUM=$(command -v "$chromium" || true)
export TIDEMILL_BIN TIDEMILL_FAILPOINT_BIN TIDEMILL_TEST_TRANSFORMS TIDEMILL_TEST_CHROMIUM
export TIDEMILL_TEST_KAFKA="$kafka" TIDEMILL_TEST_VERSITYGW="$gateway/versitygw" TIDEMILL_TEST_PROMTOOL="$promtool"
export TIDEMILL_TEST_CACHE="$cache" TIDEMILL_TEST_COMPOSE="$cache/compose-go-$compose/cmd"
cd "$real"
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" -m pytest "$@"
