#!/usr/bin/env bash
# Starts a broker of Apache Kafka on this machine, without Docker, and creates the topic that Tidemill reads.
# `scripts/setup_kafka.sh --help` says what can be chosen.
set -euo pipefail

usage() {
  cat <<'END'
Starts Apache Kafka (one broker, KRaft) on 127.0.0.1 and creates the topic that Tidemill reads.
A second call finds it running and makes sure of the topic.

  scripts/setup_kafka.sh [--port N] [--topic NAME] [--partitions N] [--dir DIR]
  scripts/setup_kafka.sh --stop [--dir DIR]

  --port N         where the broker listens [default: 9092]; its controller takes the next port
  --topic NAME     the topic [default: user-events]
  --partitions N   its partitions, if it is created [default: 3]
  --dir DIR        its data, its log and its pid [default: ~/.local/state/tidemill-kafka]
  --stop           ends the broker that was started with this DIR, and no other; its data stay
  --help           this text

Needs Java 17 or later, and Maven at the first call, which downloads Kafka.
END
}

fail() { # fail "what failed; what to do" [exit code]
  echo "error: $1" >&2
  exit "${2:-1}"
}

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests" && pwd)
port=9092 topic=user-events partitions=3 stop=
dir=${XDG_STATE_HOME:-$HOME/.local/state}/tidemill-kafka
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --stop) stop=yes && shift ;;
    --port | --topic | --partitions | --dir)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help" 2
      declare "${1#--}=$2"
      shift 2
      ;;
    *) fail "unknown argument $1; see --help" 2 ;;
  esac
done
[[ $port =~ ^[0-9]+$ ]] && [ "$port" -ge 1 ] && [ "$port" -lt 65535 ] ||
  fail "--port is $port; expected a number from 1 to 65534" 2
[[ $partitions =~ ^[1-9][0-9]*$ ]] || fail "--partitions is $partitions; expected a number from 1" 2
[[ $topic =~ ^[a-zA-Z0-9._-]+$ ]] || fail "--topic is $topic; expected letters, digits, dots, _ and -" 2

# The broker's command line names this file: so a pid that went to another process meanwhile is not taken for it.
[[ $dir == /* ]] || dir=$PWD/$dir
config=$dir/server.properties

running() { # sets pid
  pid=$(cat "$dir/pid" 2>/dev/null) && [[ $(ps -ww -o args= -p "$pid" 2>/dev/null) == *"kafka.Kafka $config" ]]
}
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# until_true SECONDS COMMAND...: false if it did not come true.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
# A zombie has gone: who should have waited for it may never do.
gone() { ! kill -0 "$pid" 2>/dev/null || [[ $(ps -o stat= -p "$pid" 2>/dev/null) == Z* ]]; }

if [ -n "$stop" ]; then
  running || { echo "no broker of $dir is running"; exit; }
  kill "$pid"
  until_true 60 gone || fail "the broker (pid $pid) did not end within 60 s; see $dir/log, then: kill -9 $pid"
  rm -f "$dir/pid"
  echo "stopped the broker (pid $pid); its data stay in $dir"
  exit
fi

version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1) || true
[ "${version:-0}" -ge 17 ] ||
  fail "Kafka needs Java 17 or later, and found ${version:-none}: install a Java runtime (Debian: default-jre-headless)"
jars=$("$tests/kafka_jars.sh") || fail "cannot get Kafka through Maven (see above)"
# Quick to start, small, and quiet: what it says goes to DIR/log.
java=(java -Xmx512m -XX:TieredStopAtLevel=1 -cp "$jars/*" "-Dlog4j2.configurationFile=$tests/real/log4j2.properties")

if running; then
  port=$(sed -n 's|^listeners=PLAINTEXT://127.0.0.1:\([0-9]*\),.*|\1|p' "$config")
  echo "the broker is running already (pid $pid)"
else
  for taken in "$port" $((port + 1)); do
    ! listens "$taken" || fail "port $taken is taken by another process: stop that, or choose another --port"
  done
  mkdir -p "$dir"
  cat >"$config" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
END
  if [ ! -e "$dir/data/meta.properties" ]; then
    cluster=$("${java[@]}" kafka.tools.StorageTool random-uuid)
    "${java[@]}" kafka.tools.StorageTool format --cluster-id "$cluster" --config "$config" >"$dir/log" 2>&1 ||
      fail "cannot prepare $dir/data for the broker; see $dir/log, or choose another --dir"
  fi
  nohup "${java[@]}" kafka.Kafka "$config" >>"$dir/log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$dir/pid"
  up_or_dead() { listens "$port" || ! kill -0 "$pid" 2>/dev/null; }
  if ! until_true 60 up_or_dead || ! kill -0 "$pid" 2>/dev/null; then
    kill "$pid" 2>/dev/null || true
    rm -f "$dir/pid"
    tail -5 "$dir/log" >&2
    fail "the broker did not listen on port $port within 60 s; the whole log is $dir/log"
  fi
  echo "started the broker (pid $pid), its log is $dir/log"
fi

topics=("${java[@]}" org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$port")
"${topics[@]}" --create --if-not-exists --topic "$topic" --partitions "$partitions" >"$dir/topic" 2>&1 || {
  cat "$dir/topic" >&2
  fail "cannot create the topic $topic (see above)"
}
found=$("${topics[@]}" --describe --topic "$topic" 2>/dev/null | sed -n 's/.*PartitionCount: \([0-9]*\).*/\1/p')
[ -n "$found" ] || fail "the topic $topic is not there after it was created; see $dir/log"
[ "$found" = "$partitions" ] || echo "note: the topic was there before, with another number of partitions"

flags=
[ "$port" = 9092 ] || flags+=" --brokers 127.0.0.1:$port"
[ "$topic" = user-events ] || flags+=" --topic $topic"
[[ $dir == "${XDG_STATE_HOME:-$HOME/.local/state}/tidemill-kafka" ]] && at='' || at=" --dir $(printf %q "$dir")"
cat <<END
topic $topic: $found partitions, broker 127.0.0.1:$port

Next:
  tidemill produce --count 200000 --bad 0.01$flags
  tidemill run --raw file://$PWD/lake/raw --processed file://$PWD/lake/processed$flags
  scripts/setup_kafka.sh --stop$at
END
