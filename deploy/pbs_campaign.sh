#!/usr/bin/env bash
# slurm_campaign.sh for PBS, which passes no arguments to a script and sends no early signal. Untested on a real PBS.
#
#     qsub -v STORE=features.zarr,COMMAND="mgdask featurize glass.zarr --set interstice --out features.zarr --cluster pbs.yaml" \
#         deploy/pbs_campaign.sh
#
#   MGDASK_SECONDS  length of a round (default 42000): the walltime below minus the time to stop
#   MGDASK_ROUNDS   maximum number of jobs, one after the other (default 50)
#PBS -N mgdask-campaign
#PBS -l select=1:ncpus=2:mem=8gb
#PBS -l walltime=12:00:00
#PBS -j oe
set -u

cd "${PBS_O_WORKDIR:-.}" || exit 1
store=${STORE:?set STORE: qsub -v STORE=...,COMMAND=...}
: "${COMMAND:?set COMMAND: qsub -v STORE=...,COMMAND=...}"
round=${MGDASK_ROUND:-1}
rounds=${MGDASK_ROUNDS:-50}
self=${MGDASK_SCRIPT:-${PBS_O_WORKDIR:-.}/deploy/pbs_campaign.sh}

done_blocks() {
    local text
    text=$(mgdask status "$store" 2> /dev/null)
    text=${text%%/*}
    case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

before=$(done_blocks)
echo "$(date '+%F %T') round $round of at most $rounds, $before blocks done"
read -r -a words <<< "$COMMAND"
timeout --signal=TERM --kill-after=240 "${MGDASK_SECONDS:-42000}" "${words[@]}"
status=$?
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
if [ "$round" -ge "$rounds" ]; then
    echo "the maximum of $rounds rounds is reached, $now blocks done: stopped" >&2
    exit 75
fi
export STORE COMMAND MGDASK_ROUND=$((round + 1)) MGDASK_ROUNDS=$rounds MGDASK_SCRIPT=$self
if ! qsub -V "$self"; then
    echo "the next round could not be submitted" >&2
    exit 1
fi
