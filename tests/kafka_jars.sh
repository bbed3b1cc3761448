#!/usr/bin/env bash
# Prints the folder with the jars of Apache Kafka, which Maven downloads first if they are not there.
# tests/real.sh and scripts/setup_kafka.sh start brokers from it. Keyed by tests/real/pom.xml.
set -euo pipefail

pom=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/real/pom.xml
cache=${TIDEMILL_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-tests}
folder="$cache/kafka-$(sha256sum <"$pom" | cut -c1-12)"

if [ ! -e "$folder/.complete" ]; then
  command -v mvn >/dev/null || {
    echo "Maven is not here, which downloads Kafka: install Maven 3.8 or later (Debian: maven)" >&2
    exit 2
  }
  began=$SECONDS
  echo "preparing Apache Kafka ..." >&2
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/kafka.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  (cd "$new" && TERM=dumb mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$new" >&2)
  touch "$new/.complete"
  rm -rf "$folder" # left by an interrupted run
  mv "$new" "$folder"
  echo "prepared Apache Kafka in $((SECONDS - began)) s" >&2
fi
echo "$folder"
