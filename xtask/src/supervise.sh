# Runs a command that must not outlive the build tool, however that ends.
#
#   supervise.sh DIRECTORY COMMAND ARGUMENT...      (DIRECTORY may be empty)
#
# Standard input is a pipe that only the build tool holds open. When it closes, be it by SIGKILL, the command
# is killed and whatever it started in this process group is asked to end. DIRECTORY is removed when the
# command is gone. The exit code is the command's.

# A handler that does nothing, not an ignored signal: the command would inherit that.
trap : INT HUP TERM

# Background jobs get an empty standard input, so the pipe is kept at another number.
exec 3<&0 </dev/null

directory=$1
shift

"$@" 3<&- &
command=$!

(
    trap : TERM
    while read -r _ <&3; do :; done
    kill -TERM 0
    kill -KILL "$command"
) 2>/dev/null &
watcher=$!

# `wait` also returns when a signal was handled.
while :; do
    wait "$command"
    code=$?
    kill -0 "$command" 2>/dev/null || break
done

[ -z "$directory" ] || rm -rf "$directory"
kill -KILL "$watcher" 2>/dev/null
exit "$code"
