# A stand-in for aws-kinesis-agent 2.0.13 whose removal does the worst; sourced after lib.sh. It holds nothing of the real one.
# shellcheck shell=bash disable=SC2154

# What it holds: a program that sleeps, an init script, a cron line, defaults, a configuration.
lay_out_former() {
    local to=$1 defaults=$2
    mkdir -p "$to"/{usr/bin,etc/init.d,etc/cron.d,etc/aws-kinesis/agent.d,"etc/$defaults",var/log/aws-kinesis-agent}
    cat >"$to/usr/bin/start-aws-kinesis-agent" <<'FORMER'
#!/bin/sh
exec sleep 86400
FORMER
    cat >"$to/etc/init.d/aws-kinesis-agent" <<'FORMER'
#!/bin/sh
### BEGIN INIT INFO
# Provides: aws-kinesis-agent
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
pid=/var/run/aws-kinesis-agent.pid
case $1 in
    start)
        mkdir -p /var/run/aws-kinesis-agent
        start-aws-kinesis-agent </dev/null >/dev/null 2>&1 &
        echo $! >$pid
        ;;
    stop) kill "$(cat $pid)" && rm -f $pid ;;
    status) kill -0 "$(cat $pid)" ;;
esac
FORMER
    echo '* * * * * root [ ! -e /var/run/aws-kinesis-agent.pid ] || /etc/init.d/aws-kinesis-agent start' \
        >"$to/etc/cron.d/aws-kinesis-agent"
    echo '{"flows": []}' >"$to/etc/aws-kinesis/agent.json"
    echo '# none' >"$to/etc/$defaults/aws-kinesis-agent"
    chmod 0755 "$to/usr/bin/start-aws-kinesis-agent" "$to/etc/init.d/aws-kinesis-agent"
}

FORMER_INSTALLED='id -u aws-kinesis-agent-user >/dev/null 2>&1 || useradd --system --uid 987 --no-create-home aws-kinesis-agent-user
usermod -aG adm aws-kinesis-agent-user
chown aws-kinesis-agent-user /var/log/aws-kinesis-agent'
FORMER_STOPPED='if [ -x /etc/init.d/aws-kinesis-agent ]; then /etc/init.d/aws-kinesis-agent stop || true; fi'
FORMER_GONE='rm -rf /etc/init.d/aws-kinesis-agent /etc/cron.d/aws-kinesis-agent /var/run/aws-kinesis-agent /var/run/aws-kinesis-agent.pid
rm -rf /var/log/aws-kinesis-agent /etc/aws-kinesis /etc/default/aws-kinesis-agent /etc/sysconfig/aws-kinesis-agent
userdel aws-kinesis-agent-user || true'

build_former_deb() {
    local to=$scratch/former-deb
    lay_out_former "$to" default
    mkdir "$to/DEBIAN"
    cat >"$to/DEBIAN/control" <<'FORMER'
Package: aws-kinesis-agent
Version: 2.0.13
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: a stand-in
 Whose removal does the worst.
FORMER
    printf '%s\n' /etc/aws-kinesis/agent.json /etc/default/aws-kinesis-agent /etc/init.d/aws-kinesis-agent >"$to/DEBIAN/conffiles"
    printf '#!/bin/sh\n%s\n' "$FORMER_INSTALLED" >"$to/DEBIAN/postinst"
    printf '#!/bin/sh\n%s\n' "$FORMER_STOPPED" >"$to/DEBIAN/prerm"
    printf '#!/bin/sh\n%s\nexit 0\n' "$FORMER_GONE" >"$to/DEBIAN/postrm"
    chmod 0755 "$to"/DEBIAN/p*
    dpkg-deb --root-owner-group --build "$to" "$scratch/aws-kinesis-agent_2.0.13_all.deb" >/dev/null
}

build_former_rpm() {
    local to=$scratch/former-rpm
    lay_out_former "$to" sysconfig
    cat >"$scratch/former.spec" <<FORMER
Name: aws-kinesis-agent
Version: 2.0.13
Release: 1
Summary: A stand-in whose removal does the worst
License: none
BuildArch: noarch
AutoReqProv: no
%description
It holds nothing of the real one.
%install
cp -a $to/. %{buildroot}/
%post
$FORMER_INSTALLED
%preun
$FORMER_STOPPED
%postun
$FORMER_GONE
:
%files
/usr/bin/start-aws-kinesis-agent
/etc/init.d/aws-kinesis-agent
/etc/cron.d/aws-kinesis-agent
%config(noreplace) /etc/aws-kinesis/agent.json
%config(noreplace) /etc/sysconfig/aws-kinesis-agent
%dir /var/log/aws-kinesis-agent
FORMER
    rpmbuild -bb --quiet --define "_topdir $scratch/rpmbuild" --define "_rpmdir $scratch" \
        --define '_rpmfilename %{name}-%{version}-%{release}.%{arch}.rpm' --define '__os_install_post %{nil}' "$scratch/former.spec"
}

# let_former_work FOLDER: that of the defaults file. As it is on a host where the former has worked: 25 of 40 lines are sent, and
# the babysitter is on. Of another file nothing was to be sent.
let_former_work() {
    mkdir -p "$tree/var/log/app"
    lines 1 50000 >"$tree/var/log/app/app.log"
    configure "$1" '"flows"' ', {"filePattern": "/var/log/app/app.log*", "kinesisStream": "app", "maxBufferAgeMillis": 100}'
    in_tree "$INIT" start
    lines 1 40 >"$tree/tmp/app1.csv"
    local offset
    offset=$(lines 1 25 | wc -c)
    sqlite3 "$tree/run/aws-kinesis-agent/checkpoints" "
        CREATE TABLE FILE_CHECKPOINTS(flow text, path text, fileId text, lastModifiedTime bigint, size bigint,
            offset bigint, lastUpdated datetime, primary key (flow, path));
        INSERT INTO FILE_CHECKPOINTS VALUES('kinesis:tmp:/tmp/app1.csv*', '/tmp/app1.csv',
            '(dev=$(printf %x "$(stat -c %d "$tree/tmp/app1.csv")"),ino=$(stat -c %i "$tree/tmp/app1.csv"))',
            $(stat -c %Y "$tree/tmp/app1.csv")000, $(stat -c %s "$tree/tmp/app1.csv"), $offset,
            '$(date -u '+%F %T.000')');"
    in_tree chown -R aws-kinesis-agent-user /var/run/aws-kinesis-agent
}

# let_former_send LINE: as when it has gone on to that one by the checkpoints that it found.
let_former_send() {
    in_tree "$INIT" start
    sqlite3 "$tree/run/aws-kinesis-agent/checkpoints" "
        UPDATE FILE_CHECKPOINTS SET offset = $(lines 1 "$1" | wc -c), lastUpdated = '$(date -u '+%F %T.%3N')'
        WHERE path = '/tmp/app1.csv'"
}

# ours_goes_on: what the former had not sent has arrived, and nothing else; its traces are gone and ours are there.
ours_goes_on() {
    expect 0 "$INIT" status
    arrived tmp 26 40
    [[ ! -e $tree/etc/cron.d/aws-kinesis-agent ]] || fail "the babysitter is still there"
    grep -q '^# Part of kinesis-agent' "$tree$INIT" || fail "the init script isn't ours"
    grep -q "$endpoint" "$tree/etc/aws-kinesis/agent.json" || fail "the configuration isn't what it was"
    grep -q '^# Set by the proof' "$tree/etc/$1/aws-kinesis-agent" || fail "the defaults aren't what they were"
    [[ $(in_tree id -u aws-kinesis-agent-user) == 987 ]] || fail "the user isn't who it was"
}
