#!/usr/bin/env bash
# Drives a run that is longer than any job may be: the job resubmits itself until the store is finished.
#
#     sbatch deploy/slurm_campaign.sh features.zarr \
#         mgdask featurize glass.zarr --set interstice --out features.zarr --cluster slurm.yaml
#
# The first argument is the store to watch. The others are the command, which must resume where it stopped, as
# mgdask featurize does. The job itself needs few resources: the workers are jobs of their own, from slurm.yaml.
# Without --cluster, this job does the work.
#   MGDASK_ROUNDS   maximum number of jobs, one after the other (default 50)
# The exit status is 0 if the store is finished, 75 if MGDASK_ROUNDS is reached, and else that of the command.
# It stops if a round has finished no block, or if it is cancelled (scancel).
#SBATCH --job-name=mgdask-campaign
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -u

if [ "$#" -lt 2 ]; then
    echo "usage: sbatch slurm_campaign.sh STORE COMMAND ..." >&2
    exit 64
fi
store=$1
shift
round=${MGDASK_ROUND:-1}
rounds=${MGDASK_ROUNDS:-50}
# Slurm runs a copy of this file from its spool directory; the next round needs the original.
self=${MGDASK_SCRIPT:-$(scontrol show job "${SLURM_JOB_ID:-0}" 2> /dev/null | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')}
self=${self:-$0}

done_blocks() {
    local text
    text=$(mgdask status "$store" 2> /dev/null)
    text=${text%%/*}
    case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

before=$(done_blocks)
echo "$(date '+%F %T') round $round of at most $rounds, $before blocks done"

time_is_up=no
"$@" &
command=$!
trap 'time_is_up=yes; kill -TERM "$command" 2> /dev/null' USR1
trap 'kill -TERM "$command" 2> /dev/null; wait "$command"; echo "cancelled"; exit 143' TERM INT
wait "$command"
status=$?
while kill -0 "$command" 2> /dev/null; do # a signal interrupts wait before the command has ended
    wait "$command"
    status=$?
done

mgdask status "$store"
state=$?
if [ "$state" -eq 0 ] && [ "$status" -eq 0 ]; then
    echo "$(date '+%F %T') finished"
    exit 0
fi
now=$(done_blocks)
if [ "$now" -le "$before" ]; then
    echo "round $round finished no block (the command ended with status $status): stopped" >&2
    exit $((status == 0 ? 1 : status))
fi
if [ "$time_is_up" = no ] && [ "$status" -ne 0 ]; then
    echo "the command ended with status $status after $((now - before)) blocks; trying again" >&2
fi
if [ "$round" -ge "$rounds" ]; then
    echo "the maximum of $rounds rounds is reached, $now blocks done: stopped" >&2
    exit 75
fi
export MGDASK_ROUND=$((round + 1)) MGDASK_ROUNDS=$rounds MGDASK_SCRIPT=$self
if ! sbatch --export=ALL "$self" "$store" "$@"; then
    echo "the next round could not be submitted" >&2
    exit 1
fi
