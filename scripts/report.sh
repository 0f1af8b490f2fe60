# shellcheck shell=bash
# How the scripts talk: steps that show progress, and one clear line when something is wrong.
# The caller sets `log`, the file that keeps what the commands themselves print.

fail() {
    printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
    exit 1
}

# step TITLE HINT COMMAND...: runs the command, shows that it is alive, and explains its failure.
# HINT is what to say where the log tells nothing more precise.
step() {
    local title=$1 hint=$2 started=$SECONDS
    shift 2
    printf '%s ...\n' "$title"
    printf '\n== %s: %s\n' "$title" "$*" >>"$log"
    local mark
    mark=$(wc -c <"$log")
    if [ -t 1 ]; then
        "$@" 2>&1 | tee -a "$log" | show_last_line || explain "$mark" "$hint"
    else
        "$@" >>"$log" 2>&1 || explain "$mark" "$hint"
    fi
    printf '%s: done in %d s\n' "$title" $((SECONDS - started))
}

# Keeps the newest line of its input, and the seconds so far, on the last line of the terminal.
show_last_line() {
    local newest line="" width started=$SECONDS
    width=$(tput cols 2>/dev/null || echo 80)
    while true; do
        if IFS= read -r -t 1 newest; then
            line=$newest
        elif [ $? -le 128 ]; then # the end, not the second that was waited
            break
        fi
        printf '\r\033[K  %4d s  %s' $((SECONDS - started)) "${line:0:width-12}"
    done
    printf '\r\033[K'
}

# explain MARK HINT: ends the script with the reason that the log gives after its byte MARK.
explain() {
    local said reason
    said=$(tail -c "+$(($1 + 1))" "$log")
    case $said in
        *"No space left on device"* | *"Disk quota exceeded"*)
            reason="the disk is full: free a few GB below $root and run again" ;;
        *"Temporary failure in name resolution"* | *"Temporary failure resolving"* | *"Name or service not known"* | \
            *"Network is unreachable"* | *"No route to host"* | *"Connection refused"* | *"timed out"* | \
            *"Failed to establish a new connection"* | *"Could not connect to"*)
            reason="the network does not answer: check the connection or the proxy and run again" ;;
        *"No matching distribution found for"*)
            reason="$(grep -o 'No matching distribution found for.*' <<<"$said" | tail -n 1), for this Python and CPU" ;;
        *)
            reason=$2 ;;
    esac
    fail "$reason (details: $log)"
}
