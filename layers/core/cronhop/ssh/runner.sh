# The runner: starts a command on a server, once, and tells later visits about it.
#
# POSIX sh and Linux; tried with dash, bash, busybox and mksh. runner.py sends what a
# question needs of this text on stdin, inside one compound command whose last line
# calls ch_visit: a stream that is cut anywhere runs nothing. Data comes in single
# quotes, in the alphabet [A-Za-z0-9_./-] and \0ooo for every other byte.
#
# A process costs a millisecond, here and on the caller's clock: what the shell can do
# by itself, it does.
#
# One directory is one execution, $HOME/.cronhop/<key>. Its mkdir is the guard: who
# makes it starts the command, everybody else attaches, now and for ever. Its mode
# tells of an empty one: 100 forbids the start, 500 was cleaned. In it:
#
#   command               the command's text
#   stdout, stderr        pipes, from the command to their keepers; becomes
#   wake                  a pipe, to the visit that started it: a line when the
#                         command starts, when its end is published, and now and
#                         then while it waits
#   stdout.cut, stderr.cut
#                         the keeper failed, the disk being full: the rest is lost
#   stdout.<blocks>.<n>, stderr.<blocks>.<n>
#                         segment n of what it wrote; all but the last are of exactly
#                         so many blocks of 8 KiB. The first five and the last six
#                         are kept, others are empty or gone
#   new.<boot>            made, not yet taken over by the supervisor; then comes
#   run.<pid>.<ticks>.<boot>.<started>
#                         the supervisor's process; then comes
#   exit.<code>.<ended>.<started>[.timeout.<escaped>, .cancel.<escaped> or
#                         .left.<escaped>, who may still write]
#   group                 made for, and followed by
#   group.<pid>.<ticks>   the command's process group; becomes one of
#   timeout.<pid>.<ticks>, cancel.<pid>.<ticks>.<grace>
#                         the time-out has struck, or a visit: whoever came first
#   as.<user>             whom sudo makes of us for the command
#
# State is in names, which the shell makes by itself; where there is no room for
# another name, the one before is renamed, which needs none: a disk that the command
# fills cannot take its exit code away. Times are of /proc/uptime, in
# hundredths of a second, so the host's clock may be set at will.
#
#   ch_visit (sh -s over SSH)        answers and ends
#   `- ch_supervise (sh -s, setsid)  waits for the command, publishes its end
#      |- ch_watch                   ends the command at its time-out
#      |- ch_keep, dd (twice)        keep what the command writes, up to a cap
#      `- the command (setsid)       TERM and KILL to its group reach nobody else
#   `- ch_kill (sh -s, setsid)       ends the command for a visit, whoever else is dead

ch_visit() {
    ch_marker=$1 ch_verb=$2 ch_key=$3 ch_user= ch_again= ch_cancels=
    shift 3
    exec </dev/null 2>/dev/null
    ch_prepare
    [ -n "$HOME" ] || ch_fail no_home
    "ch_$ch_verb" "$@"
    exit 0
}

ch_prepare() {
    ch_dir=$HOME/.cronhop/$ch_key ch_heads=5 ch_tails=6
    ch_speak
    ch_find_setsid
    read -r ch_boot </proc/sys/kernel/random/boot_id || ch_fail no_proc
    ch_clock
    ch_since=$ch_tick
}

# Set ch_setsid to its path: the command may have another PATH.
ch_find_setsid() {
    ch_ifs=$IFS
    IFS=:
    for ch_setsid in $PATH; do
        ch_setsid=$ch_setsid/setsid
        [ ! -x "$ch_setsid" ] || break
    done
    IFS=$ch_ifs
    [ -x "$ch_setsid" ] || ch_setsid=$(command -v setsid) || ch_fail no_setsid
}

ch_speak() {
    # Values must not become arguments of a process, where others see them: only
    # builtins may have them. mksh has no builtin printf, but print. What is found
    # without a PATH is builtin.
    if PATH=/dev/null command -v printf >/dev/null; then
        ch_decode() { printf '%b' "$1"; }
        ch_print() { printf '%s\n' "$1"; }
    elif PATH=/dev/null command -v print >/dev/null; then
        ch_decode() { print -n -- "$1"; }
        ch_print() { print -r -- "$1"; }
    else
        ch_fail no_printf
    fi
}

# Set ch_value to what a word stands for.
ch_word() {
    ch_value=$1
    case $1 in
    *\\*)
        # $() drops newlines at the end: the dot keeps the value's own.
        ch_value=$(
            ch_decode "$1"
            echo .
        )
        ch_value=${ch_value%.}
        ;;
    esac
}

ch_fail() {
    echo
    echo "$ch_marker fail $1"
    exit 0
}

# Start the command unless its guard exists, then attach.
ch_start() {
    ch_timeout=$1 ch_grace=$2 ch_wait=$3 ch_inline=$4
    ch_blocks=$5 ch_kind=$6 ch_size=$7 ch_command=$8
    ch_word "$9"
    ch_user=$ch_value
    # Who logs in as that user needs no sudo, which may not even be there.
    [ -z "$ch_user" ] || [ "$ch_user" != "$(id -un)" ] || ch_user=
    shift 9
    ch_find_mask
    umask 077
    if ch_guard; then
        if ! ch_write; then
            ch_remove
            rmdir "$ch_dir"
            ch_fail home_full
        fi
        # For another user the text is not in a file: he may not come to it.
        [ -n "$ch_user" ] || ch_command=
        # Open for both, it waits for nobody. The supervisor has it from birth and
        # the command never: we read the end of it when nobody is left to wake us.
        exec 8<>"$ch_dir/wake" 9<"$ch_dir/wake"
        ch_detach "ch_supervise $ch_key $ch_timeout $ch_grace $ch_mask $ch_blocks \
$ch_wait" "$ch_user" "$ch_command" "$@"
        exec 8>&-
        ch_await_end 1 "$ch_wait" "$ch_inline"
    else
        ch_taken
        ch_await_end 0 "$ch_wait" "$ch_inline"
    fi
}

# Set ch_mask to the umask, which is the second line there since Linux 4.7.
ch_find_mask() {
    {
        read -r ch_rest
        read -r ch_rest ch_mask
    } </proc/self/status
    [ "$ch_rest" = Umask: ] || ch_mask=$(umask)
}

ch_attach() {
    ch_await_end 0 "$@"
}

# Take the guard for good, and tell that it was free, or else attach without waiting.
ch_forbid() {
    ch_claim "$1"
    ch_await_end 0 0 "$1"
}

# End the command, or take the guard for good if it was never started.
ch_cancel() {
    ch_claim "$3"
    ch_look
    case $ch_state.$ch_reason in
    starting.* | running.* | lost.died)
        # It goes on if the connection breaks, and whatever the supervisor does.
        ch_cancels=1
        ch_find_user
        ch_detach "ch_kill $ch_key $1"
        ;;
    esac
    ch_await_end 0 "$2" "$3"
}

# Take the guard for good and report, or go on if it was there before.
ch_claim() {
    ch_here=0 ch_inline=$1
    umask 077
    if ch_guard -m 100; then
        ch_forget
        ch_report
        exit 0
    fi
    ch_taken
}

# Make the guard, with what options of mkdir are given.
ch_guard() {
    [ -d "$HOME/.cronhop" ] || mkdir "$HOME/.cronhop"
    mkdir "$@" "$ch_dir"
}

# Ensure that the guard was there before; else tell why it cannot be made.
ch_taken() {
    if [ -e "$ch_dir" ] || [ -L "$ch_dir" ]; then
        return 0
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
    mkfifo "$ch_dir/stdout" "$ch_dir/stderr" "$ch_dir/wake" &&
        true >"$ch_dir/stdout.$ch_blocks.0" && true >"$ch_dir/stderr.$ch_blocks.0" &&
        true >"$ch_dir/group" && ch_decode "$ch_command" >"$ch_dir/command" &&
        ch_is_written "$ch_dir/command" "$ch_size" &&
        { [ "$ch_kind" = script ] || chmod 700 "$ch_dir/command"; } &&
        { [ -z "$ch_user" ] || true >"$ch_dir/as.$ch_user"; } &&
        true >"$ch_dir/new.$ch_boot"
}

# Whether a file is there with its whole size. Half a kilobyte, in one block of the
# disk, is there or not.
ch_is_written() {
    if [ "$2" -le 512 ]; then
        [ -s "$1" ]
    else
        [ "$(wc -c <"$1")" -eq "$2" ]
    fi
}

# Run a function, with words, in a session of its own and without us.
ch_detach() {
    if [ -n "$ch_user" ]; then
        # It will feed a shell itself, through sudo, and needs the text for that.
        ch_again=$(ch_print "$ch_runner" | sed "s/'/'\\\\''/g")
        ch_again="ch_runner='$ch_again'"
    fi
    # A process that leads its group makes setsid fork: two of them detach without
    # "&", which would leave SIGINT and SIGQUIT ignored.
    ch_feed "$@" 8>&- 9<&- | "$ch_setsid" "$ch_setsid" /bin/sh -s >/dev/null 2>&1 9<&-
}

# Print a script for the stdin of a shell: a function's call, and words for it.
ch_feed() {
    ch_line=$1
    shift
    for ch_value; do
        ch_line="$ch_line '$ch_value'"
    done
    ch_print "{
$ch_again
$ch_runner
$ch_line
}"
}

ch_supervise() {
    ch_key=$1 ch_timeout=$2 ch_grace=$3 ch_mask=$4 ch_blocks=$5 ch_wait=$6
    ch_user=$7 ch_command=$8 ch_again=
    shift 8
    exec </dev/null >/dev/null 2>&1
    ch_marker=
    ch_prepare
    ch_stat $$
    ch_started=$ch_now
    ch_state=run.$$.$ch_ticks.$ch_boot.$ch_started
    if true >"$ch_dir/$ch_state"; then
        # Cleaned up meanwhile: it is on record that this never started.
        if [ ! -e "$ch_dir/new.$ch_boot" ]; then
            rm -f "$ch_dir/$ch_state"
            exit 1
        fi
    else
        mv -f "$ch_dir/new.$ch_boot" "$ch_dir/$ch_state" || exit 1
    fi
    ch_watch &
    ch_watcher=$!
    # Both ends are opened here, with the help of <>, which waits for nobody. A read
    # end stays open as long as there may be a writer: it never gets a SIGPIPE.
    exec 3<>"$ch_dir/stdout" 4<"$ch_dir/stdout" 5>"$ch_dir/stdout"
    exec 3<>"$ch_dir/stderr" 6<"$ch_dir/stderr" 7>"$ch_dir/stderr" 3>&-
    ch_keep stdout 4 &
    ch_out=$!
    ch_keep stderr 6 &
    ch_err=$!
    if [ -n "$ch_user" ]; then
        ch_feed ch_inner "$ch_key" "$ch_command" "$@" | (ch_become)
        ch_code=$?
        ch_swap
    else
        (ch_become "$@")
        ch_code=$?
    fi
    exec 5>&- 7>&-
    ch_clock
    ch_ended=$ch_now
    # The watcher that has struck is let finish: the command may have left processes
    # that need the KILL.
    if ch_group timeout; then
        wait "$ch_watcher"
    else
        kill "$ch_watcher"
        wait "$ch_watcher"
        # It may have struck just now, and not have come to the KILL; nor need ch_kill.
        if ch_group timeout; then
            ch_pulse &
            ch_end_group TERM
        elif ch_group cancel; then
            ch_pulse &
            ch_grace=$ch_term
            ch_end_group 0
        fi
    fi
    ch_await
    ch_end=exit.$ch_code.$ch_ended.$ch_started
    if ch_group timeout; then
        ch_end=$ch_end.timeout.$(ch_count)
    elif ch_group cancel; then
        ch_end=$ch_end.cancel.$(ch_count)
    elif [ "$ch_out" = 0 ] || [ "$ch_err" = 0 ]; then
        # Somebody may still write. Who has another environment is not counted.
        ch_number=$(ch_count)
        [ "$ch_number" -gt 0 ] || ch_number=1
        ch_end=$ch_end.left.$ch_number
    fi
    ch_left=60
    until ch_publish "$ch_state" "$ch_end"; do
        ch_left=$((ch_left - 1))
        [ "$ch_left" -gt 0 ] || break
        sleep 1
        echo >&8
    done
    echo >&8
    [ "$ch_out" -gt 0 ] || cat <&4 &
    [ "$ch_err" -gt 0 ] || cat <&6 &
    exit 0
}

# Put a name beside the one before, or in its place.
ch_publish() {
    true >"$ch_dir/$2" || mv -f "$ch_dir/$1" "$ch_dir/$2"
}

# Wait for the keepers; set ch_out and ch_err to 0 where a keeper was let go.
ch_await() {
    ch_settlers= ch_left=20
    # They end within a millisecond as a rule: looking is cheaper than any process.
    while ch_keeps && [ "$ch_left" -gt 0 ]; do
        ch_left=$((ch_left - 1))
    done
    if ch_keeps; then
        ch_pulse &
        {
            ch_sleep 0.1
            ch_settle stdout "$ch_out" &
            ch_settle stderr "$ch_err" &
        } &
        ch_settlers=$!
    fi
    wait "$ch_out"
    [ $? -ne 137 ] || ch_out=0
    wait "$ch_err"
    [ $? -ne 137 ] || ch_err=0
    [ -z "$ch_settlers" ] || kill "$ch_settlers"
}

ch_keeps() {
    ch_lives "$ch_out" || ch_lives "$ch_err"
}

ch_lives() {
    ch_stat "$1" && [ "$ch_life" != Z ]
}

# Let a keeper go whose pipe is held open by what the command has left behind. It has
# all that the command wrote when it sleeps for lack of more, or has got on by more
# than any pipe holds.
ch_settle() {
    ch_measure "$1"
    ch_mark=$ch_last ch_left=400 ch_idle=0
    while [ "$ch_left" -gt 0 ] && [ "$ch_idle" -lt 2 ]; do
        ch_lives "$2" || return 0
        ch_find_readers "$2"
        ch_idle=$((ch_idle + 1))
        [ -z "$ch_awake" ] || ch_idle=0
        ch_measure "$1"
        [ $(((ch_last - ch_mark - 1) * ch_blocks)) -le 128 ] || break
        ch_left=$((ch_left - 1))
        ch_sleep 0.05
    done
    # Stopped, it starts no other dd.
    kill -s STOP "$2"
    ch_find_readers "$2"
    kill -s KILL $ch_readers "$2"
}

# Set ch_readers, the children of a keeper and theirs, and ch_awake if one of them is
# not asleep, or there is none.
ch_find_readers() {
    ch_find_children "$1"
    ch_readers=$ch_children
    for ch_pid in $ch_readers; do
        ch_find_children "$ch_pid"
        ch_readers="$ch_readers $ch_children"
    done
    ch_awake=
    [ -n "$ch_readers" ] || ch_awake=1
    for ch_pid in $ch_readers; do
        ch_stat "$ch_pid" && [ "$ch_life" = S ] || ch_awake=1
    done
}

ch_find_children() {
    ch_children=
    if [ -r "/proc/$1/task/$1/children" ]; then
        read -r ch_children <"/proc/$1/task/$1/children"
        return 0
    fi
    # Not every kernel has that.
    ch_parent=$1
    for ch_file in /proc/[0-9]*/stat; do
        read -r ch_line <"$ch_file" || continue
        set -- ${ch_line##*) }
        [ "$2" != "$ch_parent" ] || ch_children="$ch_children ${ch_line%% *}"
    done
}

# Copy a stream into segments. dd writes what it has read at once, however little, and
# says how much; with fewer reads than it was asked for, it has seen the end.
ch_keep() {
    # Not as redirections of the call: dash would keep the write ends for afterwards.
    exec <&"$2" 4<&- 5>&- 6<&- 7>&- 8>&-
    ch_stream=$1 ch_last=0 ch_room=$((ch_blocks * 8192))
    export LC_ALL=C
    while :; do
        ch_block=8192 ch_count=$((ch_room / 8192))
        [ "$ch_count" -gt 0 ] || ch_block=$ch_room ch_count=1
        ch_said=$(dd "bs=$ch_block" "count=$ch_count" 2>&1 \
            >>"$ch_dir/$ch_stream.$ch_blocks.$ch_last") || break
        # Cleaned up meanwhile: nobody wants it any more.
        if [ ! -p "$ch_dir/$ch_stream" ]; then
            rm -f "$ch_dir/$ch_stream.$ch_blocks.$ch_last"
            break
        fi
        ch_reads=${ch_said%% records in*}
        ch_reads=${ch_reads##*[!0-9+]}
        ch_said=${ch_said##*records out?}
        ch_said=${ch_said%% *}
        case $ch_reads:$ch_said in *[!0-9+:]* | *: | :*) break ;; esac
        [ $(($ch_reads)) -eq "$ch_count" ] || exit 0
        ch_room=$((ch_room - ch_said))
        [ "$ch_room" -gt 0 ] || ch_next || break
    done
    # Nobody is to wait for us, or fail.
    mv -f "$ch_dir/$ch_stream" "$ch_dir/$ch_stream.cut"
    exec cat >/dev/null
}

# Begin another segment, and empty the one that falls out. Readers see it in this
# order. What is empty is removed now and then, as that takes a process.
ch_next() {
    ch_last=$((ch_last + 1)) ch_room=$((ch_blocks * 8192))
    true >"$ch_dir/$ch_stream.$ch_blocks.$ch_last" || return 1
    ch_old=$((ch_last - ch_tails))
    [ "$ch_old" -ge "$ch_heads" ] || return 0
    true >"$ch_dir/$ch_stream.$ch_blocks.$ch_old"
    [ $((ch_old % 16)) -eq 15 ] || return 0
    set --
    while [ $# -lt 16 ] && [ "$ch_old" -ge "$ch_heads" ]; do
        set -- "$@" "$ch_dir/$ch_stream.$ch_blocks.$ch_old"
        ch_old=$((ch_old - 1))
    done
    rm -f "$@"
}

# Turn this subshell into the command, in a session of its own. A subshell in the
# foreground is no group leader, so setsid does not fork and the pid stays.
ch_become() {
    read -r ch_pid ch_rest </proc/self/stat
    ch_stat "$ch_pid"
    ch_publish group "group.$ch_pid.$ch_ticks" || exit 126
    echo >&8
    umask "$ch_mask"
    exec >&5 2>&7 4<&- 5>&- 6<&- 7>&- 8>&-
    if [ -n "$ch_user" ]; then
        if ! command -v sudo >/dev/null; then
            echo "cronhop: the host has no sudo" >&2
            exit 1
        fi
        exec "$ch_setsid" sudo -n -H -u "$ch_user" /bin/sh -s
    fi
    ch_old=${OLDPWD+set}
    [ "$PWD" = "$HOME" ] || cd "$HOME" || exit 126
    ch_run "$ch_dir/command" "$@"
}

# Run the command from within sudo: our stdin is all that comes through to here.
ch_inner() {
    ch_key=$1 ch_command=$2 ch_setsid= ch_old=
    shift 2
    ch_speak
    # TERM is for the command: it may take its time to end, and tell how.
    trap : TERM
    cd "$HOME" 2>/dev/null || cd /
    ch_decode "$ch_command" | (ch_run /proc/self/fd/3 "$@" 3<&0 </dev/null)
    ch_code=$?
    ch_swap
    exit "$ch_code"
}

# Exchange the codes 1, which is how sudo says no, and 126: on both sides of sudo, so
# that the command's own codes stay, and a no becomes 126.
ch_swap() {
    case $ch_code in
    1) ch_code=126 ;;
    126) ch_code=1 ;;
    esac
}

# Become the command: a file, the directory to run it in, how many words are before
# and how many are behind the file, these words, and names and values of variables.
ch_run() {
    ch_file=$1 ch_before=$3 ch_behind=$4
    ch_word "$2"
    shift 4
    if [ -n "$ch_value" ] && ! cd "$ch_value" 2>/dev/null; then
        ch_print "cronhop: cannot run in the directory $ch_value" >&2
        exit 126
    fi
    [ -n "$ch_old" ] || unset OLDPWD
    # Each word goes from the front to the end, and is decoded on its way.
    ch_words=$((ch_before + 1 + ch_behind))
    while [ "$ch_before" -gt 0 ]; do
        ch_word "$1"
        shift
        set -- "$@" "$ch_value"
        ch_before=$((ch_before - 1))
    done
    set -- "$@" "$ch_file"
    while [ "$ch_behind" -gt 0 ]; do
        ch_word "$1"
        shift
        set -- "$@" "$ch_value"
        ch_behind=$((ch_behind - 1))
    done
    export "CRONHOP_EXECUTION=$ch_key"
    while [ $# -gt "$ch_words" ]; do
        ch_word "$2"
        export "$1=$ch_value"
        shift 2
    done
    exec $ch_setsid "$@"
}

ch_watch() {
    ch_nap=
    trap 'kill $ch_nap; exit 0' TERM
    ch_left=$ch_timeout ch_elapsed=0
    # More than once if a visit waits, or if somebody killed the sleep.
    while [ "$ch_left" -gt 0 ]; do
        ch_pause=$ch_left
        # Its time began before ours.
        [ "$ch_elapsed" -ge "$ch_wait" ] || ch_pause=1
        sleep "$ch_pause" &
        ch_nap=$!
        wait "$ch_nap"
        echo >&8
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
    mv -f "$ch_dir/group.$ch_pid.$ch_birth" "$ch_dir/timeout.$ch_pid.$ch_birth" ||
        return 0
    ch_pulse &
    ch_end_group TERM
}

# Wake the visit until it has waited long enough: what comes now may take a while.
ch_pulse() {
    ch_elapsed
    while [ "$ch_elapsed" -lt "$ch_wait" ] && kill -s 0 $$; do
        sleep 1
        echo >&8
        ch_elapsed
    done
}

# End the command for a visit, without it.
ch_kill() {
    ch_key=$1 ch_grace=$2 ch_again=
    exec </dev/null >/dev/null 2>&1
    ch_marker=
    ch_prepare
    ch_tries=700
    while [ "$ch_tries" -gt 0 ]; do
        ch_look
        case $ch_state.$ch_reason in
        running.*)
            # Somebody may have stopped the supervisor.
            kill -s CONT "$ch_supervisor"
            ;;
        starting.*) ;;
        lost.died) ch_tries=$((ch_tries - 100)) ;;
        *) exit 0 ;;
        esac
        if ch_group group; then
            mv -f "$ch_dir/group.$ch_pid.$ch_birth" \
                "$ch_dir/cancel.$ch_pid.$ch_birth.$ch_grace" &&
                ch_end_group TERM && exit 0
        elif ch_group cancel || ch_group timeout; then
            # A second TERM means "at once" to some. Who sent the first may be dead.
            ch_end_group 0
            exit 0
        fi
        ch_tries=$((ch_tries - 1))
        ch_sleep 0.1
    done
}

# Find the command's process group in the name of a file: group, timeout or cancel.
ch_group() {
    for ch_file in "$ch_dir/$1".*; do
        [ -e "$ch_file" ] || return 1
        ch_file=${ch_file##*/}
        ch_pid=${ch_file#*.}
        ch_birth=${ch_pid#*.}
        ch_pid=${ch_pid%%.*}
        ch_term=${ch_birth#*.}
        ch_birth=${ch_birth%%.*}
    done
}

# End the group that ch_group has found: a signal, the grace, KILL.
ch_end_group() {
    # It has its name a moment before it is a group.
    ch_left=200
    while ch_stat "$ch_pid" && [ "$ch_leader" != "$ch_pid" ] && [ "$ch_left" -gt 0 ]; do
        ch_left=$((ch_left - 1))
        ch_sleep 0.02
    done
    # Another process may have the number by now.
    ! ch_stat "$ch_pid" || [ "$ch_ticks" = "$ch_birth" ] || return 0
    ch_find_user
    if [ -n "$ch_user" ] && ch_sudo "ch_end $1 $ch_pid $ch_grace"; then
        return 0
    fi
    ch_end "$1" "$ch_pid" "$ch_grace"
}

# Send a signal to a group, after the grace KILL, and wait a little until it is gone.
ch_end() {
    kill -s "$1" -- "-$2"
    kill -s CONT -- "-$2"
    ch_clock
    ch_since=$ch_tick ch_elapsed=0
    while kill -s 0 -- "-$2" && [ "$ch_elapsed" -lt "${3}00" ]; do
        ch_sleep 0.1
        ch_elapsed
    done
    kill -s KILL -- "-$2"
    ch_left=20
    while [ "$ch_left" -gt 0 ] && kill -s 0 -- "-$2"; do
        ch_left=$((ch_left - 1))
        ch_sleep 0.05
    done
    return 0
}

# Set ch_user to whom the command runs as, if that is not us.
ch_find_user() {
    ch_user=
    for ch_file in "$ch_dir"/as.*; do
        [ ! -e "$ch_file" ] || ch_user=${ch_file##*/as.}
    done
}

# Run a function as that user: we may not signal his processes, nor look into them.
ch_sudo() {
    ch_feed "$@" | sudo -n -H -u "$ch_user" /bin/sh -s
}

# Count what the command has left behind.
ch_count() {
    ch_find_user
    ch_number=
    [ -z "$ch_user" ] || ch_number=$(ch_sudo "ch_escaped $ch_key")
    case $ch_number in
    '' | *[!0-9]*) ch_escaped "$ch_key" ;;
    *) echo "$ch_number" ;;
    esac
}

# Count the processes that left the command's group and outlived its end.
ch_escaped() {
    ch_number=0
    for ch_file in $(grep -l "CRONHOP_EXECUTION=$1" /proc/[0-9]*/environ 2>/dev/null); do
        tr '\0' '\n' <"$ch_file" 2>/dev/null | grep -qx "CRONHOP_EXECUTION=$1" &&
            ch_number=$((ch_number + 1))
    done
    echo "$ch_number"
}

# Wait until the command has ended, for so many hundredths of a second, and report.
ch_await_end() {
    ch_here=$1 ch_wait=$2 ch_inline=$3
    ch_elapsed=0
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
        lost) [ "$ch_elapsed" -lt "$ch_wait" ] && ch_is_ending || break ;;
        *) break ;;
        esac
        # Noise, which ends the visit if the connection is closed.
        echo || exit 0
        if [ "$ch_here" = 1 ]; then
            read -r ch_rest <&9 || ch_sleep 0.1
        else
            ch_sleep "${1:-0.25}"
            [ $# -eq 0 ] || shift
        fi
    done
    ch_report
}

# Whether this visit ends a command whose supervisor is dead, and has not yet.
ch_is_ending() {
    [ -n "$ch_cancels" ] && [ "$ch_reason" = died ] &&
        { ch_group cancel || ch_group timeout || ch_group group; } &&
        { kill -s 0 -- "-$ch_pid" || ch_lives "$ch_pid"; }
}

ch_report() {
    if [ "$ch_state" = running ] || [ "$ch_state" = lost ]; then
        ! ch_group cancel || ch_cancelled=1
    fi
    [ "$ch_state:$ch_cancels" != lost:1 ] || ch_left=$(ch_count)
    ch_size stdout
    ch_out=$ch_said
    ch_size stderr
    ch_clock
    echo
    echo "$ch_marker report $ch_state $ch_here $ch_code $ch_timed_out $ch_from $ch_to" \
        "$ch_now $ch_out $ch_said $ch_left $ch_reason $ch_cancelled"
    ch_head stdout
    echo "$ch_marker stderr"
    ch_head stderr
    echo "$ch_marker end"
}

ch_head() {
    [ "$ch_state" != exited ] || ch_slice "$1" 0 0 "$ch_inline"
}

# Set ch_said to how much there is of a stream: blocks in a segment, how many first segments
# are kept, the first of the last ones, the last one, its size, whether it was cut.
ch_size() {
    ch_measure "$1"
    ch_file=$1.$ch_blocks.$ch_last ch_bytes=0 ch_cut=0
    ! ch_is_plain "$ch_file" || [ ! -s "$ch_dir/$ch_file" ] ||
        ch_bytes=$(stat -c %s "$ch_dir/$ch_file")
    [ ! -p "$ch_dir/$1.cut" ] || ch_cut=1
    ch_said=$ch_blocks:$ch_heads:$ch_first:$ch_last:$ch_bytes:$ch_cut
}

# Set ch_blocks and ch_last, of a stream's segments, from their names, and ch_first,
# the first one after the hole. Without segments ch_blocks is 0.
ch_measure() {
    ch_blocks=0 ch_last=0
    [ ! -L "$ch_dir" ] || set -- no_stream
    for ch_file in "$ch_dir/$1".*.*; do
        ch_part=${ch_file##*.}
        ch_file=${ch_file%.*}
        ch_file=${ch_file##*.}
        case $ch_file:$ch_part in *[!0-9:]* | :* | *:) continue ;; esac
        [ "${#ch_file}" -lt 7 ] && [ "${#ch_part}" -lt 10 ] || continue
        ch_blocks=$ch_file
        [ "$ch_part" -le "$ch_last" ] || ch_last=$ch_part
    done
    ch_first=$((ch_last - ch_tails + 1))
    [ "$ch_first" -ge "$ch_heads" ] || ch_first=$ch_heads
}

# Print a stream from a block and so many bytes in it on, at most so many, and not
# across the hole. ch_low is the first segment that was read.
ch_slice() {
    ch_low=0 ch_want=$4
    ch_measure "$1"
    [ "$ch_blocks" -gt 0 ] || return 0
    ch_number=$(($2 / ch_blocks)) ch_skip=$(($2 % ch_blocks * 8192 + $3))
    ch_low=$ch_number
    while [ "$ch_want" -gt 0 ] && [ "$ch_number" -le "$ch_last" ]; do
        [ "$ch_number" -lt "$ch_heads" ] || [ "$ch_number" -ge "$ch_first" ] || break
        ch_file=$1.$ch_blocks.$ch_number
        ch_is_plain "$ch_file" && [ -s "$ch_dir/$ch_file" ] || break
        ch_part=$((ch_blocks * 8192 - ch_skip))
        [ "$ch_part" -le "$ch_want" ] || ch_part=$ch_want
        if [ "$ch_skip" -eq 0 ]; then
            head -c "$ch_part" "$ch_dir/$ch_file"
        else
            tail -c "+$((ch_skip + 1))" "$ch_dir/$ch_file" | head -c "$ch_part"
        fi
        ch_want=$((ch_want - ch_part)) ch_number=$((ch_number + 1)) ch_skip=0
    done
}

# Whether a segment is a file: who opens a FIFO waits for ever, and a link may lead
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
    ch_cancelled=0
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
        case $5 in
        timeout) ch_timed_out=1 ch_left=$6 ;;
        cancel) ch_cancelled=1 ch_left=$6 ;;
        left) ch_left=$6 ;;
        esac
        ;;
    run)
        ch_supervisor=$2 ch_from=$5
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
        elif [ -z "$1" ] && ch_is_empty; then
            :
        elif [ "$ch_here" = 1 ] && [ "$ch_elapsed" -lt 6000 ]; then
            ch_state=starting
        elif [ $(($(date +%s) - $(stat -c %Y "$ch_dir"))) -gt 60 ]; then
            ch_state=lost ch_reason=never_started
        else
            ch_state=starting
        fi
        ;;
    esac
}

# Whether the mode of the guard tells why it is empty.
ch_is_empty() {
    case $(ls -ld "$ch_dir") in
    dr-x*) ch_state=lost ch_reason=cleaned ;;
    d--x*) ch_state=absent ;;
    *) return 1 ;;
    esac
}

ch_read() {
    ch_measure "$1"
    [ "$ch_blocks" -gt 0 ] || ch_fail no_output
    echo
    echo "$ch_marker data"
    ch_slice "$@"
    # What falls out of the last segments during the reading leaves a gap in it.
    ch_measure "$1"
    if [ "$ch_low" -lt "$ch_heads" ] || [ "$ch_low" -ge "$ch_first" ]; then
        echo "$ch_marker end"
    else
        echo "$ch_marker gone"
    fi
}

# Remove the files. The directory stays, marked by its mode.
ch_clean() {
    ch_look
    case $ch_state.$ch_reason in
    running.* | starting.* | lost.replaced) ch_answer=busy ;;
    absent.*) ch_answer=done ;;
    *)
        ch_answer=done
        ch_remove
        chmod 500 "$ch_dir"
        ;;
    esac
    echo
    echo "$ch_marker $ch_answer"
    [ "$ch_answer" = busy ] || ch_old
    echo "$ch_marker end"
}

# Print the names of guards that were emptied more than a day ago, the oldest first.
ch_old() {
    cd "$HOME/.cronhop" || return
    set -- $(find . -maxdepth 1 -type d '(' -perm 500 -o -perm 100 ')' -mtime +0 \
        ! -name '*[!0-9A-Za-z-]*' | head -n 1000)
    [ $# -eq 0 ] || ls -1dtr "$@" | head -n 20
}

# Remove emptied guards, which the caller says nobody will look for any more.
ch_sweep() {
    ! cd "$HOME/.cronhop" || rmdir -- "$ch_key" "$@"
    echo
    echo "$ch_marker done"
}

# Remove our files; the pipes first, without which a keeper begins no segment.
ch_remove() {
    rm -f "$ch_dir/stdout" "$ch_dir/stderr" "$ch_dir"/stdout.* "$ch_dir"/stderr.* \
        "$ch_dir/wake" "$ch_dir/command" "$ch_dir/group" "$ch_dir"/group.* "$ch_dir"/timeout.* \
        "$ch_dir"/cancel.* "$ch_dir"/as.* \
        "$ch_dir"/new.* "$ch_dir"/run.* "$ch_dir"/exit.*
}

# Set ch_life, ch_leader and ch_ticks: state, group and start time of a process
# (proc(5), stat).
ch_stat() {
    read -r ch_line <"/proc/$1/stat" || return 1
    set -- ${ch_line##*) }
    ch_life=$1 ch_leader=$3
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
