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
    as_documented "/etc/init.d/aws-kinesis-agent start"
    expect 0 "$INIT" status
    [[ $said == *running* ]] || fail "status: $said"
    arrived tmp 1 10
    arrived home 1 10
    local pid user
    pid=$(<"$tree/run/aws-kinesis-agent.pid")
    user=$(stat -c %u "/proc/$pid")
    [[ $user != 0 && $user == $(in_tree id -u aws-kinesis-agent-user) ]] || fail "it runs as user $user"
    is_set AWS_DEFAULT_REGION=eu-central-1

    proves "a second start, condrestart, and what isn't a command"
    expect 0 "$INIT" start
    is_process "$pid" || fail "started twice"
    expect 2 "$INIT" dance
    expect 2 "$INIT"
    expect 0 "$INIT" condrestart
    ! is_process "$pid" || fail "condrestart changed nothing"

    proves "a reload takes flows in; one with mistakes says which, and changes nothing"
    pid=$(<"$tree/run/aws-kinesis-agent.pid")
    local verb
    for verb in reload force-reload; do
        configure "$1" '"flows": 7, "flosw"'
        expect 6 "$INIT" $verb
        [[ $said == *"flows: not a list"* && $said == *"goes on"* ]] || fail "$verb: $said"
        is_process "$pid" || fail "a refused $verb ended it"
    done
    lines 1 10 >"$tree/tmp/app2.csv"
    configure "$1" '"flows"' ', {"filePattern": "/tmp/app2.csv*", "kinesisStream": "late", "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 100}'
    expect 0 "$INIT" reload
    arrived late 1 10
    is_process "$pid" || fail "a reload started another"
    configure "$1"
    expect 0 "$INIT" force-reload
    is_process "$pid" || fail "a reload started another"

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

    proves "killed it is dead, and starts again where its checkpoint is"
    until_true "the checkpoint" is_saved /tmp/app1.csv
    kill -KILL "$(<"$tree/run/aws-kinesis-agent.pid")"
    until_true "its end" not_running
    expect 1 "$INIT" status
    expect 7 "$INIT" reload
    expect 0 "$INIT" start
    expect 0 "$INIT" status
    arrived tmp 1 40
}

# is_set NAME=VALUE: the agent has it in its environment.
is_set() {
    grep -qxF "$1" <<<"$(tr '\0' '\n' <"/proc/$(<"$tree/run/aws-kinesis-agent.pid")/environ")" || fail "$1 isn't exported to the agent"
}

# is_process PID: the service is that process.
is_process() {
    [[ $(<"$tree/run/aws-kinesis-agent.pid") == "$1" && -e /proc/$1 ]]
}

# is_saved FILE: its checkpoint is at its end.
is_saved() {
    [[ $(sqlite3 "$tree/var/lib/aws-kinesis-agent/checkpoints" "SELECT offset FROM FILE_CHECKPOINTS WHERE path = '$1'" 2>/dev/null) == "$(stat -c %s "$tree$1")" ]]
}

not_running() {
    ! in_tree "$INIT" status >/dev/null
}

# no_start WORD: why it isn't started has that word, and status doesn't say that it runs.
no_start() {
    expect 6 "$INIT" start
    [[ $said == *"$1"* ]] || fail "start: $said"
    expect 3 "$INIT" status
}

# have_its_troubles FOLDER: that of the defaults file. What keeps it from starting is said, with the exit code that LSB has for it.
# The service runs before and afterwards.
have_its_troubles() {
    local defaults=$tree/etc/$1/aws-kinesis-agent
    proves "others than root may ask, and no more"
    expect 0 setpriv --reuid 65534 --regid 65534 --clear-groups "$INIT" status
    local verb
    for verb in start stop restart reload; do
        expect 4 setpriv --reuid 65534 --regid 65534 --clear-groups "$INIT" $verb
        [[ $said == *"only root"* ]] || fail "$verb: $said"
    done
    expect 0 "$INIT" stop

    proves "what keeps it from starting is said"
    configure "$1" '"flows": 7, "flosw"'
    no_start "flows: not a list"
    configure "$1"
    echo 'AGENT_ARGS="--nonsense"' >>"$defaults"
    no_start --nonsense
    configure "$1"
    echo 'AGENT_ARGS="-c /nowhere.json"' >>"$defaults"
    no_start /nowhere.json
    configure "$1"
    mv "$tree/usr/bin/kinesis-agent" "$tree/usr/bin/elsewhere"
    expect 5 "$INIT" start
    expect 3 "$INIT" status
    mv "$tree/usr/bin/elsewhere" "$tree/usr/bin/kinesis-agent"

    proves "a pid file that names another process is no agent's"
    in_tree sleep 600 &
    local another=$!
    echo $another >"$tree/run/aws-kinesis-agent.pid"
    expect 1 "$INIT" status
    expect 0 "$INIT" stop
    [[ -e /proc/$another ]] || fail "stop ended another process"
    expect 3 "$INIT" status
    kill $another

    proves "of JVM_ARGS the proxies count, and AGENT_ARGS and AGENT_LOG_LEVEL do"
    # Nothing is to go by the proxy, which nobody plays here: the endpoint is on loopback.
    cat >>"$defaults" <<'DEFAULTS'
JVM_ARGS="-Xmx512m -Dhttps.proxyHost=proxy.example.com -Dhttps.proxyPort=3128 -Dhttp.nonProxyHosts=localhost|*.example.org"
AGENT_ARGS="--log /var/log/aws-kinesis-agent/other.log"
AGENT_LOG_LEVEL=WARN
DEFAULTS
    expect 0 "$INIT" start
    [[ $said == *"JVM_ARGS: -Xmx512m has no effect"* ]] || fail "start: $said"
    local setting
    for setting in HTTPS_PROXY=http://proxy.example.com:3128 NO_PROXY=localhost,.example.org AGENT_LOG_LEVEL=WARN; do
        is_set $setting
    done
    local log=$tree/var/log/aws-kinesis-agent/other.log
    until_true "a warning in its log" grep -qF "[WARN] the region eu-central-1" "$log"
    ! grep -F "[INFO]" "$log" || fail "the log isn't of that level"

    proves "where systemd runs the host it is told, and its answer is the script's"
    configure "$1"
    mkdir -p "$tree/run/systemd/system"
    printf '#!/bin/sh\necho "$@"\nexit 43\n' >"$tree/usr/local/bin/systemctl"
    chmod 0755 "$tree/usr/local/bin/systemctl"
    local told
    while read -r verb told; do
        expect 43 env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$INIT" "$verb"
        [[ $said == "$told" ]] || fail "$verb: $said"
    done <<'TOLD'
start start aws-kinesis-agent.service
stop stop aws-kinesis-agent.service
restart restart aws-kinesis-agent.service
condrestart try-restart aws-kinesis-agent.service
reload reload aws-kinesis-agent.service
force-reload reload-or-restart aws-kinesis-agent.service
status --no-pager --full status aws-kinesis-agent.service
TOLD
    expect 2 "$INIT" dance
    rm -r "$tree/run/systemd" "$tree/usr/local/bin/systemctl"
    expect 0 "$INIT" restart
    expect 0 "$INIT" status
}

# remember_files FOLDER: that of the defaults file. What belongs to the operator, for the two below.
remember_files() {
    (cd "$tree" && sha256sum etc/aws-kinesis/agent.json "etc/$1/aws-kinesis-agent" >"$scratch/configuration" && sha256sum ".$INIT" >"$scratch/script")
}

same_configuration() {
    (cd "$tree" && sha256sum --check --quiet "$scratch/configuration") || fail "the configuration was changed"
}

same_files() {
    same_configuration
    (cd "$tree" && sha256sum --check --quiet "$scratch/script") || fail "the init script was changed"
}
