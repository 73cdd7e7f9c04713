#!/usr/bin/env bash
# Tests on several GPUs:              bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTIONS of tools/test.py]
# On several machines, on each one:   NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST PORT=29500 bash tools/dist_test.sh …
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTIONS of tools/test.py]" >&2
    exit 2
fi
config=$1
checkpoint=$2
gpus=$3
shift 3

exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
