# Does something with a systemd unit, waits until the unit is as it should be, and
# shows why if it is not.
#
#   ACTION UNIT WAIT_S PORT PROBE_S LINES
#
# PORT 0: no probe. LINES of the unit's journal are shown on stderr after a failure.
#
# exit codes:
#   0  as it should be
#   1  systemctl refused the action
#   3  not active, or (stop) still active, within WAIT_S; status: not active
#   4  active, but nothing listens on PORT within PROBE_S
#   5  no systemctl, or no systemd that answers it
#   6  no such unit

action=$1 unit=$2 wait_s=$3 port=$4 probe_s=$5 lines=$6
PATH=$PATH:/usr/bin:/bin:/usr/sbin:/sbin # behind, for logins that lack them
export PATH LC_ALL=C SYSTEMD_COLORS=0 SYSTEMD_PAGER=

control() {
    systemctl --no-pager --no-ask-password "$@"
}

# The time, in seconds, by a clock that nobody sets.
now() {
    read -r uptime rest </proc/uptime
    uptime=${uptime%.*}
}

pause() {
    sleep "$1" 2>/dev/null || sleep 1
}

# What the unit is just now.
look() {
    load='' active='' sub='' type='' result='' invocation=''
    properties=$(control show -p LoadState -p ActiveState -p SubState -p Type \
        -p Result -p InvocationID -- "$unit") || return
    for property in $properties; do
        case $property in
        LoadState=*) load=${property#*=} ;;
        ActiveState=*) active=${property#*=} ;;
        SubState=*) sub=${property#*=} ;;
        Type=*) type=${property#*=} ;;
        Result=*) result=${property#*=} ;;
        InvocationID=*) invocation=${property#*=} ;;
        esac
    done
    [ -n "$active" ]
}

# End with an exit code and a reason, and what systemd knows.
fail() {
    {
        echo "$unit: $2"
        control status --full --lines=0 -- "$unit"
        if [ "$lines" -gt 0 ]; then
            echo "--- the last $lines lines of its journal"
            journalctl --no-pager -q -o short-iso -n "$lines" -u "$unit" ||
                echo "(it cannot be read)"
        fi
    } >&2
    exit "$1"
}

# Let systemctl do it, for WAIT_S at most. It waits for systemd's job itself: without
# that a restart would be over while the former process is yet "active".
act() {
    now
    until=$((uptime + wait_s))
    control "$action" -- "$unit" &
    job=$!
    while kill -0 $job 2>/dev/null; do
        now
        if [ "$uptime" -ge $until ]; then
            kill $job
            look
            fail 3 "$action is not done after $wait_s s; it is $active ($sub)"
        fi
        pause 0.1
    done
    wait $job && return
    code=$?
    look
    [ "$active" = failed ] && fail 3 "$action failed ($result)"
    fail 1 "systemctl refused to $action it (exit code $code)"
}

# Wait until it is active, in two looks a second apart at the same process: what dies
# at once, or again and again, is active for a moment too.
await_active() {
    former=none
    while :; do
        look || fail 5 "systemd does not answer"
        now
        case $active in
        active)
            [ "$former" = "+$invocation" ] && return
            former=+$invocation
            [ "$uptime" -lt $((until + 2)) ] ||
                fail 3 "it is started again and again"
            ;;
        failed)
            fail 3 "it failed ($result)"
            ;;
        inactive)
            # A oneshot is done when it has ended well.
            [ "$type" = oneshot ] && [ "$result" = success ] && return
            fail 3 "it has ended, and is not active"
            ;;
        *)
            former=none
            [ "$uptime" -lt $until ] ||
                fail 3 "not active within $wait_s s; it is $active ($sub)"
            ;;
        esac
        pause 1
    done
}

await_stopped() {
    while :; do
        look || fail 5 "systemd does not answer"
        now
        case $active in
        inactive | failed) return ;;
        esac
        [ "$uptime" -lt $until ] ||
            fail 3 "still $active ($sub) after $wait_s s"
        pause 0.2
    done
}

# Whether something listens on the port, whatever listens and wherever: the kernel's
# own list, which needs no program. State 0A is LISTEN.
listens() {
    hexadecimal=$(printf %04X "$port")
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r $table ] || continue
        while read -r number address peer state rest; do
            case $address,$state in
            *:"$hexadecimal",0A) return 0 ;;
            esac
        done <$table
    done
    return 1
}

await_listening() {
    now
    until=$((uptime + probe_s))
    until listens; do
        look || fail 5 "systemd does not answer"
        case $active in
        failed | inactive) fail 3 "it became $active ($result) before it listened" ;;
        esac
        now
        [ "$uptime" -lt $until ] ||
            fail 4 "it is $active, but nothing listens on port $port after $probe_s s"
        pause 0.2
    done
}

if ! command -v systemctl >/dev/null; then
    echo "there is no systemctl on this host: only systemd is supported" >&2
    exit 5
fi

case $action in
enable | disable)
    control "$action" -- "$unit" || fail 1 "systemctl refused to $action it"
    echo "$unit: $(control is-enabled -- "$unit" 2>/dev/null)"
    exit 0
    ;;
esac

if ! look; then
    echo "systemd does not answer on this host" >&2
    exit 5
fi
if [ "$load" = not-found ]; then
    echo "$unit: there is no such unit" >&2
    exit 6
fi

case $action in
status)
    control status --full --lines="$lines" -- "$unit" && exit 0
    exit 3
    ;;
stop)
    act
    await_stopped
    ;;
*)
    act
    await_active
    [ "$port" = 0 ] || await_listening
    ;;
esac
look
echo "$unit: $active ($sub)"
