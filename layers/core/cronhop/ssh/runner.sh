# The runner: starts a command on a server, once, and tells later visits about it.
#
# POSIX sh and Linux; tried with dash, bash, busybox and mksh. runner.py sends this
# text on stdin, inside one compound command whose last line calls ch_visit: a stream
# that is cut anywhere runs nothing. Data comes in single quotes, in the alphabet
# [A-Za-z0-9_./-] and \0ooo for every other byte.
#
# One directory is one execution, $HOME/.cronhop/<key>. Its mkdir is the guard: who
# makes it starts the command, everybody else attaches, now and for ever. Made empty
# and read-only it forbids the start. In it:
#
#   command               the command's text
#   stdout stderr         what it wrote
#   new.<boot>            made, not yet taken over by the supervisor; becomes
#   run.<pid>.<ticks>.<boot>.<started>
#                         the supervisor's process; becomes
#   exit.<code>.<ended>.<started>[.timeout.<escaped>]
#   group, group.<pid>.<ticks>, timeout.<pid>.<ticks>
#                         the command's process group; its time-out has struck
#
# State is in names because a rename is atomic and needs no space: a disk that the
# command fills cannot take its exit code away. Times are of /proc/uptime, in
# hundredths of a second, so the host's clock may be set at will.
#
#   ch_visit (sh -s over SSH)        answers and ends
#   `- ch_supervise (sh -s, setsid)  waits for the command, publishes its end
#      |- ch_watch                   ends the command at its time-out
#      `- the command (setsid)       TERM and KILL to its group reach nobody else

ch_visit() {
    ch_marker=$1 ch_verb=$2 ch_key=$3
    shift 3
    exec </dev/null 2>/dev/null
    ch_prepare
    [ -n "$HOME" ] || ch_fail no_home
    case $ch_verb in
    start) ch_start "$@" ;;
    attach) ch_attach 0 "$@" ;;
    forbid) ch_forbid "$@" ;;
    read) ch_read "$@" ;;
    clean) ch_clean ;;
    esac
    exit 0
}

ch_prepare() {
    ch_dir=$HOME/.cronhop/$ch_key
    # Values must not become arguments of a process, where others see them: only
    # builtins may have them. mksh has no builtin printf, but print.
    if [ "$(command -v printf)" = printf ]; then
        ch_decode() { printf '%b' "$1"; }
        ch_print() { printf '%s\n' "$1"; }
    elif [ "$(command -v print)" = print ]; then
        ch_decode() { print -n -- "$1"; }
        ch_print() { print -r -- "$1"; }
    else
        ch_fail no_printf
    fi
    ch_setsid=$(command -v setsid) || ch_fail no_setsid
    read -r ch_boot </proc/sys/kernel/random/boot_id || ch_fail no_proc
}

ch_fail() {
    echo
    echo "$ch_marker fail $1"
    exit 0
}

# Start the command unless its guard exists, then attach.
ch_start() {
    ch_timeout=$1 ch_grace=$2 ch_wait=$3 ch_inline=$4
    ch_kind=$5 ch_size=$6 ch_command=$7
    shift 7
    ch_mask=$(umask)
    umask 077
    if ch_guard; then
        if ! ch_write; then
            rm -f "$ch_dir/command" "$ch_dir/stdout" "$ch_dir/stderr" \
                "$ch_dir/group" "$ch_dir/new.$ch_boot"
            rmdir "$ch_dir"
            ch_fail home_full
        fi
        # A process that leads its group makes setsid fork: two of them detach the
        # supervisor without "&", which would leave SIGINT and SIGQUIT ignored.
        ch_feed "$@" | "$ch_setsid" "$ch_setsid" /bin/sh -s >/dev/null 2>&1
        ch_attach 1 "$ch_wait" "$ch_inline"
    else
        ch_unmade "$ch_wait" "$ch_inline"
    fi
}

# Take the guard for good, and tell that it was free, or else attach without waiting.
ch_forbid() {
    ch_here=0 ch_inline=$1
    umask 077
    if ch_guard -m 500; then
        ch_forget
        ch_report
    else
        ch_unmade 0 "$ch_inline"
    fi
}

# Make the guard, with what options of mkdir are given.
ch_guard() {
    [ -d "$HOME/.cronhop" ] || mkdir "$HOME/.cronhop"
    mkdir "$@" "$ch_dir"
}

# Attach if the guard was there before; else tell why it cannot be made.
ch_unmade() {
    if [ -e "$ch_dir" ] || [ -L "$ch_dir" ]; then
        ch_attach 0 "$@"
    elif [ ! -d "$HOME" ]; then
        ch_fail home_missing
    elif [ ! -w "$HOME" ] || { [ -e "$HOME/.cronhop" ] && [ ! -w "$HOME/.cronhop" ]; }; then
        ch_fail home_not_writable
    else
        ch_fail home_full
    fi
}

# Make everything that needs space, before anything runs.
ch_write() {
    true >"$ch_dir/stdout" && true >"$ch_dir/stderr" && true >"$ch_dir/group" &&
        ch_decode "$ch_command" >"$ch_dir/command" &&
        [ "$(wc -c <"$ch_dir/command")" -eq "$ch_size" ] &&
        { [ "$ch_kind" = script ] || chmod 700 "$ch_dir/command"; } &&
        true >"$ch_dir/new.$ch_boot"
}

# Print the supervisor's script, for its stdin.
ch_feed() {
    ch_line="ch_supervise $ch_key $ch_timeout $ch_grace $ch_mask $ch_kind"
    for ch_word; do
        ch_line="$ch_line '$ch_word'"
    done
    ch_print "{
$ch_runner
$ch_line
}"
}

ch_supervise() {
    ch_key=$1 ch_timeout=$2 ch_grace=$3 ch_mask=$4 ch_kind=$5
    shift 5
    exec </dev/null >/dev/null 2>&1
    ch_marker=
    ch_prepare
    ch_stat $$
    ch_clock
    ch_started=$ch_now ch_since=$ch_tick
    ch_state=run.$$.$ch_ticks.$ch_boot.$ch_started
    mv -f "$ch_dir/new.$ch_boot" "$ch_dir/$ch_state" || exit 1
    ch_watch &
    ch_watcher=$!
    (ch_become "$@")
    ch_code=$?
    ch_clock
    ch_ended=$ch_now
    # The watcher that has struck is let finish: the command may have left processes
    # that need the KILL.
    if ch_group timeout; then
        wait "$ch_watcher"
    else
        kill "$ch_watcher"
        wait "$ch_watcher"
        # It may have struck just now, and not have come to the KILL.
        ch_group timeout && ch_end_group
    fi
    ch_end=exit.$ch_code.$ch_ended.$ch_started
    ch_group timeout && ch_end=$ch_end.timeout.$(ch_escaped)
    ch_left=60
    until mv -f "$ch_dir/$ch_state" "$ch_dir/$ch_end"; do
        ch_left=$((ch_left - 1))
        [ "$ch_left" -gt 0 ] || break
        sleep 1
    done
    exit 0
}

# Turn this subshell into the command, in a session of its own. A subshell in the
# foreground is no group leader, so setsid does not fork and the pid stays.
ch_become() {
    read -r ch_pid ch_rest </proc/self/stat
    ch_stat "$ch_pid"
    mv -f "$ch_dir/group" "$ch_dir/group.$ch_pid.$ch_ticks" || exit 126
    umask "$ch_mask"
    ch_old=${OLDPWD+set}
    [ "$PWD" = "$HOME" ] || cd "$HOME" || exit 126
    [ -n "$ch_old" ] || unset OLDPWD
    export "CRONHOP_EXECUTION=$ch_key"
    while [ $# -gt 1 ]; do
        # $() drops newlines at the end: the dot keeps the value's own.
        ch_value=$(
            ch_decode "$2"
            echo .
        )
        export "$1=${ch_value%.}"
        shift 2
    done
    if [ "$ch_kind" = script ]; then
        set -- /bin/sh "$ch_dir/command"
    else
        set -- "$ch_dir/command"
    fi
    exec "$ch_setsid" "$@" >>"$ch_dir/stdout" 2>>"$ch_dir/stderr"
}

ch_watch() {
    ch_nap=
    trap 'kill $ch_nap; exit 0' TERM
    ch_left=$ch_timeout
    # More than once only if somebody killed the sleep.
    while [ "$ch_left" -gt 0 ]; do
        sleep "$ch_left" &
        ch_nap=$!
        wait "$ch_nap"
        ch_elapsed
        ch_left=$((ch_timeout - ch_elapsed / 100))
    done
    trap - TERM
    ch_left=50
    until ch_group group; do
        ch_left=$((ch_left - 1))
        [ "$ch_left" -gt 0 ] || exit 0
        ch_sleep 0.1
    done
    mv -f "$ch_dir/group.$ch_pid.$ch_ticks" "$ch_dir/timeout.$ch_pid.$ch_ticks"
    ch_end_group
}

# Find the command's process group in the name of a file: group or timeout.
ch_group() {
    for ch_file in "$ch_dir/$1".*; do
        [ -e "$ch_file" ] || return 1
        ch_file=${ch_file##*/}
        ch_pid=${ch_file#*.}
        ch_ticks=${ch_pid#*.}
        ch_pid=${ch_pid%%.*}
    done
}

# TERM, the grace, KILL.
ch_end_group() {
    ch_clock
    ch_since=$ch_tick ch_elapsed=0
    kill -s TERM -- "-$ch_pid"
    while kill -s 0 -- "-$ch_pid" && [ "$ch_elapsed" -lt "${ch_grace}00" ]; do
        ch_sleep 0.1
        ch_elapsed
    done
    kill -s KILL -- "-$ch_pid"
}

# Count the processes that left the command's group and outlived its time-out.
ch_escaped() {
    ch_count=0
    for ch_file in $(grep -l "CRONHOP_EXECUTION=$ch_key" /proc/[0-9]*/environ); do
        tr '\0' '\n' <"$ch_file" | grep -qx "CRONHOP_EXECUTION=$ch_key" &&
            ch_count=$((ch_count + 1))
    done
    echo "$ch_count"
}

# Wait until the command has ended, for so many hundredths of a second, and report.
ch_attach() {
    ch_here=$1 ch_wait=$2 ch_inline=$3
    ch_clock
    ch_since=$ch_tick
    set -- 0.01 0.01 0.02 0.02 0.03 0.05 0.07 0.1 0.15 0.2
    while :; do
        ch_look
        ch_elapsed
        case $ch_state in
        running) [ "$ch_elapsed" -lt "$ch_wait" ] || break ;;
        # The supervisor needs some milliseconds to take over.
        starting)
            [ "$ch_elapsed" -lt "$ch_wait" ] ||
                [ "$ch_here$((ch_elapsed < 200))" = 11 ] || break
            ;;
        *) break ;;
        esac
        # Noise, which ends the visit if the connection is closed.
        echo || exit 0
        ch_sleep "${1:-0.25}"
        [ $# -eq 0 ] || shift
    done
    ch_report
}

ch_report() {
    ch_clock
    echo
    echo "$ch_marker report $ch_state $ch_here $ch_code $ch_timed_out $ch_from $ch_to" \
        "$ch_now $(ch_size stdout) $(ch_size stderr) $ch_left $ch_reason"
    ch_head stdout
    echo "$ch_marker stderr"
    ch_head stderr
    echo "$ch_marker end"
}

ch_head() {
    [ "$ch_state" != exited ] || ! ch_is_plain "$1" || head -c "$ch_inline" "$ch_dir/$1"
}

ch_size() {
    if ch_is_plain "$1" && [ -s "$ch_dir/$1" ]; then
        stat -c %s "$ch_dir/$1"
    else
        echo 0
    fi
}

# Whether a stream is a file: who opens a FIFO waits for ever, and a link may lead
# anywhere.
ch_is_plain() {
    [ ! -L "$ch_dir" ] && [ -f "$ch_dir/$1" ] && [ ! -L "$ch_dir/$1" ]
}

# Whether something else is where the guard was, a link above all.
ch_is_replaced() {
    [ -L "$ch_dir" ] || { [ -e "$ch_dir" ] && [ ! -d "$ch_dir" ]; }
}

ch_forget() {
    ch_state=absent ch_code=- ch_timed_out=0 ch_from=- ch_to=- ch_left=- ch_reason=-
}

# See what has become of the command.
ch_look() {
    ch_forget
    if ch_is_replaced; then
        ch_state=lost ch_reason=replaced
        return 0
    fi
    [ -d "$ch_dir" ] || return 0
    # A name that changes during the scan may be missed, but only once.
    ch_scan
    [ -n "$ch_found" ] || ch_scan
    ch_judge
    if [ "$ch_state" = lost ]; then
        # It may have ended between the two looks, at its file and its process.
        ch_scan
        ch_judge
    fi
}

ch_scan() {
    ch_found=
    for ch_file in "$ch_dir"/*; do
        ch_file=${ch_file##*/}
        case $ch_file in
        exit.*)
            ch_found=$ch_file
            return 0
            ;;
        new.*) [ -n "$ch_found" ] || ch_found=$ch_file ;;
        run.*) ch_found=$ch_file ;;
        esac
    done
}

ch_judge() {
    ch_ifs=$IFS
    IFS=.
    set -- $ch_found
    IFS=$ch_ifs
    case $1 in
    exit)
        ch_state=exited ch_reason=- ch_code=$2 ch_to=$3 ch_from=$4
        [ "$5" != timeout ] || ch_timed_out=1 ch_left=$6
        ;;
    run)
        ch_from=$5
        if [ "$4" != "$ch_boot" ]; then
            ch_state=lost ch_reason=rebooted
        elif ch_stat "$2" && [ "$ch_ticks" = "$3" ] && [ "$ch_life" != Z ]; then
            ch_state=running
        else
            ch_state=lost ch_reason=died
        fi
        ;;
    *)
        if [ "$1" = new ] && [ "$2" != "$ch_boot" ]; then
            ch_state=lost ch_reason=rebooted
        elif [ -z "$1" ] && ch_is_cleaned; then
            ch_state=lost ch_reason=cleaned
        elif [ $(($(date +%s) - $(stat -c %Y "$ch_dir"))) -gt 60 ]; then
            ch_state=lost ch_reason=never_started
        else
            ch_state=starting
        fi
        ;;
    esac
}

ch_is_cleaned() {
    case $(ls -ld "$ch_dir") in
    dr-x*) return 0 ;;
    *) return 1 ;;
    esac
}

ch_read() {
    [ ! -L "$ch_dir" ] && { [ -e "$ch_dir/$1" ] || [ -L "$ch_dir/$1" ]; } ||
        ch_fail no_output
    echo
    echo "$ch_marker data"
    ! ch_is_plain "$1" || tail -c "+$2" "$ch_dir/$1" | head -c "$3"
    echo "$ch_marker end"
}

# Remove the files. The directory stays, marked by its mode.
ch_clean() {
    ch_look
    case $ch_state.$ch_reason in
    running.* | starting.* | lost.replaced) ch_answer=busy ;;
    absent.*) ch_answer=done ;;
    *)
        ch_answer=done
        rm -f "$ch_dir/command" "$ch_dir/stdout" "$ch_dir/stderr" "$ch_dir/group" \
            "$ch_dir"/group.* "$ch_dir"/timeout.* "$ch_dir"/new.* "$ch_dir"/run.* \
            "$ch_dir"/exit.*
        chmod 500 "$ch_dir"
        ;;
    esac
    echo
    echo "$ch_marker $ch_answer"
}

# Set ch_life and ch_ticks: state and start time of a process (proc(5), stat).
ch_stat() {
    read -r ch_line <"/proc/$1/stat" || return 1
    set -- ${ch_line##*) }
    ch_life=$1
    shift 19
    ch_ticks=$1
}

# Set ch_now, and ch_tick, which is its end and fits 32 bits, as numbers in mksh do.
ch_clock() {
    read -r ch_now ch_rest </proc/uptime
    ch_now=${ch_now%.*}${ch_now#*.}
    ch_tick=00000000$ch_now
    ch_tick=1${ch_tick#"${ch_tick%????????}"}
}

# Set ch_elapsed: hundredths of a second since ch_since, at most eleven days.
ch_elapsed() {
    ch_clock
    ch_elapsed=$((ch_tick - ch_since))
    [ "$ch_elapsed" -ge 0 ] || ch_elapsed=$((ch_elapsed + 100000000))
}

ch_sleep() {
    sleep "$1" || sleep 1
}
