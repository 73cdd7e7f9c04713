#!/usr/bin/env bash
# Trains on several GPUs:             bash tools/dist_train.sh CONFIG GPUS [OPTIONS of tools/train.py]
# On several machines, on each one:   NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST PORT=29500 bash tools/dist_train.sh …
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [OPTIONS of tools/train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

exec torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
