#!/usr/bin/env bash
# Trains under Slurm:   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=…] \
#                       bash tools/slurm_train.sh [--requeue] PARTITION JOB_NAME CONFIG WORK_DIR [OPTIONS of tools/train.py]
# With --requeue it submits a batch job. GRACE seconds (120) before its time is over the training saves a checkpoint, and
# the job goes back into the queue and resumes; it also does so after a preemption. SBATCH_ARGS has further options, such
# as --time=24:00:00.
set -euo pipefail

requeue=
if [ "${1:-}" = --requeue ]; then
    requeue=yes
    shift
fi
if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_train.sh [--requeue] PARTITION JOB_NAME CONFIG WORK_DIR [OPTIONS of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
work_dir=$4
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
resources=(
    -p "$partition"
    --job-name="$job_name"
    --gres="gpu:$gpus_per_node"
    --ntasks="$gpus"
    --ntasks-per-node="$gpus_per_node"
    --cpus-per-task="${CPUS_PER_TASK:-5}"
)
# Slurm runs a copy of a batch script, from another folder.
tools=${SDR_MM_TOOLS:-$(cd "$(dirname "$0")" && pwd)}

if [ -n "$requeue" ] && [ -z "${SDR_MM_TOOLS:-}" ]; then
    export SDR_MM_TOOLS=$tools
    # SBATCH_ARGS and SRUN_ARGS hold several words on purpose.
    # shellcheck disable=SC2086
    exec sbatch "${resources[@]}" --requeue --open-mode=append --signal="TERM@${GRACE:-120}" ${SBATCH_ARGS:-} \
        "$tools/slurm_train.sh" --requeue "$@"
fi

shift 4
if [ -n "$requeue" ] && [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -e "$work_dir/run.json" ]; then
    set -- "$@" --resume
fi
# shellcheck disable=SC2206
training=(
    srun "${resources[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-}
    python -u "$tools/train.py" "$config" --work-dir "$work_dir" --launcher slurm "$@"
)
if [ -z "$requeue" ]; then
    exec "${training[@]}"
fi
trap : TERM # It is for the training, and this script has to outlive it.
status=0
"${training[@]}" || status=$?
if [ "$status" -eq 75 ]; then # It has saved its state and wants to be resumed.
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
