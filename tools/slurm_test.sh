#!/usr/bin/env bash
# Tests under Slurm:   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=…] \
#                      bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTIONS of tools/test.py]
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTIONS of tools/test.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
checkpoint=$4
shift 4
gpus_per_node=${GPUS_PER_NODE:-8}

# SRUN_ARGS holds several words on purpose.
# shellcheck disable=SC2086
exec srun -p "$partition" --job-name="$job_name" --gres="gpu:$gpus_per_node" --ntasks="${GPUS:-8}" \
    --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher slurm "$@"
