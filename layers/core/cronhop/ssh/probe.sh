# The probe: what a check asks of a host. POSIX sh; it changes nothing there.
#
# probe.py sends this text on stdin. The call on the last line comes with a marker
# that begins each line of the answer, so that what a login shell prints is none.

pr_probe() {
    pr_marker=$1
    exec </dev/null 2>/dev/null
    LC_ALL=C
    export LC_ALL
    # The host's time twice: whatever takes long is between the two.
    pr_say began "$(date +%s.%N)"
    pr_say system "$(uname -srm) $(pr_distribution)"
    pr_dir=$HOME
    [ ! -d "$HOME/.cronhop" ] || pr_dir=$HOME/.cronhop
    if [ -n "$HOME" ] && [ -d "$pr_dir" ] && [ -w "$pr_dir" ]; then
        pr_say writable yes
        pr_say blocks "$(df -Pk "$pr_dir" | tail -n 1)"
        pr_say inodes "$(df -Pi "$pr_dir" | tail -n 1)"
    else
        pr_say writable no
    fi
    if command -v setsid >/dev/null; then pr_say setsid yes; else pr_say setsid no; fi
    if [ -r /proc/self/stat ]; then pr_say proc yes; else pr_say proc no; fi
    if ! command -v sudo >/dev/null; then
        pr_say sudo missing
    elif sudo -n true >/dev/null; then
        pr_say sudo yes
    else
        pr_say sudo no
    fi
    pr_say ended "$(date +%s.%N)"
    exit 0
}

pr_say() {
    printf '%s %s %.300s\n' "$pr_marker" "$1" "$2"
}

pr_distribution() {
    sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release | head -n 1
}

