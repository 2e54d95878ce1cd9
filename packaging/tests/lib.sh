# What the proofs of packages share; sourced by bash. They run as root, install into Debian trees under target/, and speak to
# an endpoint on loopback.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly SUITE=bookworm
readonly BASE=$PWD/target/packaging/debian-base
readonly AGENT=${AGENT:-$PWD/target/debug/kinesis-agent}
readonly PACKAGES=${PACKAGES:-$PWD/target/packages}
readonly INIT=/etc/init.d/aws-kinesis-agent
scratch=$(mktemp -d "$PWD/target/packaging/proof.XXXXXX")
tree=$scratch/tree
endpoint_pid=''

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

proves() {
    printf '   %s\n' "$*"
}

# Nothing survives the proof: neither processes of the tree nor the tree.
clean_up() {
    local code=$? root pid
    for root in /proc/[0-9]*/root; do
        if [[ $(readlink "$root") == "$tree" ]]; then
            pid=${root#/proc/}
            kill -KILL "${pid%/root}" 2>/dev/null || true
        fi
    done
    if [[ -n $endpoint_pid ]]; then kill "$endpoint_pid" 2>/dev/null || true; fi
    if [[ $code != 0 ]]; then tail -n 30 "$tree"/var/log/aws-kinesis-agent/*.log 2>/dev/null || true; fi
    umount "$tree/proc" 2>/dev/null || true
    rm -rf "$scratch"
    exit "$code"
}
trap clean_up EXIT

# A plain Debian, made once.
make_base() {
    if [[ ! -e $BASE.is-whole ]]; then
        rm -rf "$BASE"
        debootstrap --variant=minbase $SUITE "$BASE"
        : >"$BASE.is-whole"
    fi
}

# A new machine.
make_tree() {
    make_base
    cp -a "$BASE" "$tree"
    mount -t proc proc "$tree/proc"
    mkdir -p "$tree/home/alice/app" "$tree/packages"
    mkdir -p "$tree/etc/default" "$tree/etc/sysconfig"
    # A tree has no init: without a word on it Debian's packages don't start services there.
    printf '#!/bin/sh\nexit 0\n' >"$tree/usr/sbin/policy-rc.d"
    chmod 0755 "$tree/usr/sbin/policy-rc.d"
}

in_tree() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot "$tree" "$@"
}

# expect CODE COMMAND…: in the tree; its output is kept in $said.
expect() {
    local want=$1 code=0
    shift
    said=$(in_tree "$@" 2>&1) || code=$?
    [[ $code == "$want" ]] || fail "exit code $code instead of $want of: $*"$'\n'"$said"
}

# until_true WHAT COMMAND…
until_true() {
    local what=$1 tries=0
    shift
    until "$@"; do
        tries=$((tries + 1))
        ((tries < 300)) || fail "waited in vain for $what"
        sleep 0.1
    done
}

# documented: README.md's commands on installing that root gives, and those of docs/migrating.md, a line each.
documented() {
    # shellcheck disable=SC2016
    local blocks='/^ *```sh$/,/^ *```$/{/```/!p}'
    {
        sed -n '/^## Install$/,/^## /p' README.md | sed -n "$blocks" | sed -n 's/^sudo //p'
        sed -n "$blocks" docs/migrating.md
    } | sed 's/ *#.*//; s/^ *//; /^$/d' | sort -u
}

# as_documented START: the one of these that begins so, or is that, where the packages are. rpm and dnf work on the tree from
# outside.
as_documented() {
    local command program
    command=$(documented | grep -xF "$1") || command=$(documented | grep "^$1") || fail "no command begins with $1"
    [[ $command != *$'\n'* ]] || fail "several commands begin with $1"
    program=${command%% *}
    if [[ $(type -t "${program}_in_tree") == function ]]; then
        (cd "$tree/packages" && eval "${program}_in_tree${command#"$program"}") >"$scratch/said" 2>&1 || fail "$command: $(<"$scratch/said")"
    else
        expect 0 bash -c "cd /packages && $command"
    fi
}

# An endpoint whose accepted records are in $scratch/records.
start_endpoint() {
    AGENT_LOG_LEVEL=INFO "$AGENT" endpoint --listen 127.0.0.1:0 --out "$scratch/records" --no-signatures \
        >"$scratch/endpoint" 2>&1 &
    endpoint_pid=$!
    until_true "the endpoint" grep -sqE '127\.0\.0\.1:[0-9]+' "$scratch/endpoint"
    endpoint=http://$(grep -oE '127\.0\.0\.1:[0-9]+' "$scratch/endpoint" | head -n 1)
}

# The records of a stream, a line each.
records() {
    python3 - "$scratch/records" "$1" <<'PYTHON'
import json, sys
try:
    lines = open(sys.argv[1], encoding="utf-8").read().split("\n")[:-1]
except FileNotFoundError:
    lines = []
for line in lines:
    record = json.loads(line)
    if record.get("stream") == sys.argv[2]:
        print(record["text"].rstrip("\n"))
PYTHON
}

has_arrived() {
    [[ $(records "$1" | wc -l) -ge $2 ]]
}

# arrived STREAM FIRST LAST [FROM TO]: exactly the lines FIRST to LAST but those FROM TO, none twice.
arrived() {
    local n_lines=$(($3 - $2 + 1))
    if [[ -n ${5-} ]]; then n_lines=$((n_lines - $5 + $4 - 1)); fi
    until_true "$n_lines records of $1, of which there are $(records "$1" | wc -l)" has_arrived "$1" "$n_lines"
    lines "$2" "$3" | sort >"$scratch/written"
    if [[ -n ${5-} ]]; then lines "$4" "$5" | sort | comm -23 "$scratch/written" - >"$scratch/left" && mv "$scratch/left" "$scratch/written"; fi
    diff "$scratch/written" <(records "$1" | sort) >"$scratch/difference" ||
        fail "of $1 (<: written, >: arrived)"$'\n'"$(head -n 20 "$scratch/difference")"
}

# lines FIRST LAST
lines() {
    seq -f 'line %05.0f,of,the,log' "$1" "$2"
}

# configure FOLDER [KEY [MORE]]: that of the defaults file. Two flows, one in /tmp and one under /home, and MORE; with KEY in the
# place of "flows" it isn't in order.
configure() {
    mkdir -p "$tree/etc/aws-kinesis"
    cat >"$tree/etc/aws-kinesis/agent.json" <<JSON
{
    "kinesis.endpoint": "$endpoint",
    "cloudwatch.emitMetrics": false,
    ${2-\"flows\"}: [
        {"filePattern": "/tmp/app1.csv*", "kinesisStream": "tmp", "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 100},
        {"filePattern": "/home/alice/app/*.log", "kinesisStream": "home", "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 100}${3-}
    ]
}
JSON
    cat >"$tree/etc/$1/aws-kinesis-agent" <<DEFAULTS
# Set by the proof.
AWS_ACCESS_KEY_ID=AKIDEXAMPLE
AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
AWS_DEFAULT_REGION=eu-central-1
AWS_EC2_METADATA_DISABLED=true
DEFAULTS
    chmod 0600 "$tree/etc/$1/aws-kinesis-agent"
}
