# A life of the service in $tree, the same for both kinds of package; sourced after lib.sh.
# shellcheck shell=bash disable=SC2154

# lead_a_life FOLDER: that of the defaults file. Afterwards lines 1 to 40 have arrived and the service runs.
lead_a_life() {
    proves "without a flow it doesn't start, says why, and harms nothing"
    expect 3 "$INIT" status
    [[ $said == *"no flow is configured"* ]] || fail "status: $said"
    expect 6 "$INIT" start
    [[ $said == *"no flow"* ]] || fail "start: $said"

    proves "configured, start returns when it is ready; records of /tmp and /home arrive"
    configure "$1"
    lines 1 10 >"$tree/tmp/app1.csv"
    lines 1 10 >"$tree/home/alice/app/web.log"
    expect 0 "$INIT" start
    expect 0 "$INIT" status
    [[ $said == *running* ]] || fail "status: $said"
    arrived tmp 1 10
    arrived home 1 10
    local pid user
    pid=$(<"$tree/run/aws-kinesis-agent.pid")
    user=$(stat -c %u "/proc/$pid")
    [[ $user != 0 && $user == $(in_tree id -u aws-kinesis-agent-user) ]] || fail "it runs as user $user"
    tr '\0' '\n' <"/proc/$pid/environ" | grep -q '^AWS_DEFAULT_REGION=eu-central-1$' || fail "the defaults aren't exported"

    proves "a second start, condrestart, reload, and what isn't a command"
    expect 0 "$INIT" start
    [[ $(<"$tree/run/aws-kinesis-agent.pid") == "$pid" ]] || fail "started twice"
    expect 2 "$INIT" dance
    expect 0 "$INIT" condrestart
    [[ $(<"$tree/run/aws-kinesis-agent.pid") != "$pid" ]] || fail "condrestart changed nothing"
    pid=$(<"$tree/run/aws-kinesis-agent.pid")
    sed -i.good 's/"flows"/"flows": 7, "flosw"/' "$tree/etc/aws-kinesis/agent.json"
    expect 1 "$INIT" reload
    [[ $said == *flows* && $said == *"goes on"* ]] || fail "reload: $said"
    mv "$tree/etc/aws-kinesis/agent.json.good" "$tree/etc/aws-kinesis/agent.json"
    in_tree chgrp aws-kinesis-agent-user /etc/aws-kinesis/agent.json
    [[ -e /proc/$pid ]] || fail "a refused reload ended it"
    expect 0 "$INIT" reload
    [[ $(<"$tree/run/aws-kinesis-agent.pid") != "$pid" ]] || fail "reload changed nothing"

    proves "a stop and a start lose nothing and double nothing"
    lines 11 20 >>"$tree/tmp/app1.csv"
    expect 0 "$INIT" stop
    expect 3 "$INIT" status
    expect 0 "$INIT" stop
    expect 0 "$INIT" condrestart
    expect 3 "$INIT" status
    expect 7 "$INIT" reload
    lines 21 30 >>"$tree/tmp/app1.csv"
    expect 0 "$INIT" restart
    lines 31 40 >>"$tree/tmp/app1.csv"
    arrived tmp 1 40

    proves "killed it is dead, and starts again"
    kill -KILL "$(<"$tree/run/aws-kinesis-agent.pid")"
    until_true "its end" not_running
    expect 1 "$INIT" status
    expect 0 "$INIT" start
    expect 0 "$INIT" status
    arrived tmp 1 40
}

not_running() {
    ! in_tree "$INIT" status >/dev/null
}
