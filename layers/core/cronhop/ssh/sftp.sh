# The host's part of a file transfer: where a file really lies, what it holds, whose
# it becomes. The bytes themselves go by SFTP.
#
# POSIX sh and Linux. sftp.py sends this text on stdin, inside one compound command
# whose last line calls cf_visit: a stream that is cut anywhere runs nothing. Words
# come in single quotes, in the alphabet [A-Za-z0-9_./-] and \0ooo for other bytes.
#
# A file is written under another name in its directory and then takes its own:
# .cronhop-<hash of its name>-<hash of the execution>-<random>

cf_visit() {
    cf_marker=$1 cf_verb=$2
    shift 2
    exec </dev/null 2>/dev/null
    LC_ALL=C
    export LC_ALL
    cf_newline='
'
    case $cf_verb in
    target) cf_target "$(printf %b "$1")" "$(printf %b "$2")" "$3" "$4" "$(printf %b "$5")" ;;
    source) cf_source "$(printf %b "$1")" "$(printf %b "$2")" ;;
    digest) cf_digest "$(printf %b "$1")" "$2" ;;
    seal) cf_seal "$(printf %b "$1")" "$2" "$3" "$(printf %b "$4")" "$5" ;;
    why) cf_why "$(printf %b "$1")" ;;
    discard) cf_discard "$(printf %b "$1")" && cf_answer done ;;
    esac
    exit 0
}

# Answer with words, and a text below them, and end.
cf_answer() {
    echo
    printf '%s %s\n%s\n%s end\n' "$cf_marker" "$1" "$2" "$cf_marker"
    exit 0
}

# Go to the directory of a path, and ensure that it lies in the root.
cf_enter() {
    cf_path=$1 cf_root=$2
    case $cf_path in
    /*) ;;
    *)
        [ -n "$cf_root" ] || cf_root=$HOME
        [ -n "$cf_root" ] || cf_answer no_home
        cf_path=${cf_root%/}/$cf_path
        ;;
    esac
    cf_name=${cf_path##*/}
    cf_directory=${cf_path%/*}/
    if [ -n "$cf_root" ]; then
        cd -P "$cf_root" || cf_answer no_root
        cf_here
        cf_root=$cf_found
    fi
    if ! cd -P "$cf_directory"; then
        [ -d "$cf_directory" ] && cf_answer closed
        [ -e "$cf_directory." ] || [ -e "${cf_directory%/}" ] && cf_answer no_directory
        cf_answer missing
    fi
    cf_here
    cf_bound "$cf_found"
}

# Find where this is. $(...) would take newlines from the end.
cf_here() {
    cf_found=$(pwd -P && echo .) || cf_answer missing
    cf_found=${cf_found%"$cf_newline".}
    case $cf_found in
    *"$cf_newline"*) cf_answer newline ;;
    esac
}

# Ensure that a path without symlinks lies in the root, if there is one.
cf_bound() {
    [ -n "$cf_root" ] && [ "$cf_root" != / ] || return 0
    case $1 in
    "$cf_root" | "$cf_root"/*) ;;
    *) cf_answer outside "$1" ;;
    esac
}

# Tell the directory in which a file can be written, and with it the login's id and
# umask, the mode of what is replaced and the owner's ids; remove what is left there.
cf_target() {
    cf_enter "$1" "$2"
    cf_login=$(id -u) cf_owner=$5 cf_mode=- cf_uid=- cf_gid=-
    if [ ! -L "./$cf_name" ] && [ -e "./$cf_name" ]; then
        [ -d "./$cf_name" ] && cf_answer directory
        [ -f "./$cf_name" ] || cf_answer special
        cf_mode=$(stat -c %a "./$cf_name") || cf_mode=-
        [ -z "$cf_owner" ] && [ "$cf_login" -eq 0 ] &&
            cf_owner=$(stat -c %u:%g "./$cf_name")
    fi
    [ -w . ] || cf_answer read_only
    [ -z "$cf_owner" ] || cf_ids "$cf_owner"
    rm -f ./.cronhop-"$3"-"$4"-*
    find . -maxdepth 1 -type f -name ".cronhop-$3-*" -mtime +0 -exec rm -f {} \;
    cf_answer "done $cf_login $(umask) $cf_mode $cf_uid $cf_gid" "$cf_found"
}

# Find the numbers of user:group.
cf_ids() {
    cf_uid=${1%%:*}
    case $cf_uid in
    *[!0-9]*) cf_uid=$(id -u "$cf_uid") || cf_answer no_user ;;
    esac
    case $1 in
    *:*) cf_gid=${1#*:} ;;
    esac
    case $cf_gid in
    - | *[!0-9]*) [ "$cf_gid" = - ] || cf_group "$cf_gid" ;;
    esac
}

cf_group() {
    if cf_gid=$(getent group "$1"); then
        cf_gid=${cf_gid#*:} && cf_gid=${cf_gid#*:} && cf_gid=${cf_gid%%:*}
        return
    fi
    while IFS=: read -r cf_entry cf_rest cf_gid cf_members; do
        [ "$cf_entry" = "$1" ] && return
    done </etc/group
    cf_answer no_group
}

# Tell where a file that can be read lies, symlinks resolved.
cf_source() {
    cf_enter "$1" "$2"
    cf_file=${cf_found%/}/$cf_name
    if [ -L "$cf_file" ]; then
        [ -e "$cf_file" ] || cf_answer dangling
        cf_file=$(readlink -f "$cf_file" && echo .) || cf_answer no_readlink
        cf_file=${cf_file%"$cf_newline".}
        case $cf_file in
        *"$cf_newline"*) cf_answer newline ;;
        esac
        cf_bound "${cf_file%/*}"
    fi
    [ -e "$cf_file" ] || cf_answer no_file
    [ -d "$cf_file" ] && cf_answer directory
    [ -f "$cf_file" ] || cf_answer special
    [ -r "$cf_file" ] || cf_answer unreadable
    cf_answer done "$cf_file"
}

# Choose what computes SHA-256 here.
cf_choose() {
    for cf_tool in sha256sum openssl busybox shasum; do
        command -v $cf_tool >/dev/null && return
    done
    cf_answer unsummed
}

cf_sum() {
    case $cf_tool in
    sha256sum) sha256sum ;;
    openssl) openssl dgst -sha256 ;;
    busybox) busybox sha256sum ;;
    shasum) shasum -a 256 ;;
    esac
}

# Tell the SHA-256 of the first bytes of a file.
cf_digest() {
    cf_choose
    cf_answer "sum $cf_tool" "$(head -c "$2" "$1" | cf_sum)"
}

# Ensure that a new file holds what it should; give it owner and mode, as far as that
# is left to do: "" and - for nothing.
cf_seal() {
    cf_new=$1 cf_size=$2 cf_wanted=$3 cf_owner=$4 cf_mode=$5 cf_tool=none
    if [ "$cf_wanted" != - ]; then
        cf_choose
        [ "$(wc -c <"$cf_new")" -eq "$cf_size" ] || cf_answer changed
        case $(cf_sum <"$cf_new") in
        *"$cf_wanted"*) ;;
        *) cf_answer changed ;;
        esac
    fi
    # Whose it is comes first: until then nobody else may read it, and a change of
    # the owner takes the set-id bits away.
    if [ -n "$cf_owner" ]; then
        chown -h -- "$cf_owner" "$cf_new" ||
            cf_said=$(sudo -n chown -h -- "$cf_owner" "$cf_new" 2>&1) ||
            cf_answer owner "$cf_said"
    fi
    if [ "$cf_mode" != - ]; then
        [ -L "$cf_new" ] && cf_answer changed
        chmod -- "$cf_mode" "$cf_new" ||
            cf_said=$(sudo -n chmod -- "$cf_mode" "$cf_new" 2>&1) ||
            cf_answer mode "$cf_said"
    fi
    cf_answer "sealed $cf_tool"
}

# Try to write what SFTP could not, for the system says why and SFTP does not.
cf_why() {
    cf_said=$({ dd if=/dev/zero bs=65536 count=16 >>"$1"; } 2>&1)
    cf_discard "$1"
    cf_answer why "$cf_said"
}

cf_discard() {
    rm -f -- "$1" || sudo -n rm -f -- "$1"
}
