#!/usr/bin/env bash
# Trains on several GPUs:             bash tools/dist_train.sh CONFIG GPUS [OPTIONS of tools/train.py]
# On several machines, on each one:   NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST PORT=29500 bash tools/dist_train.sh …
# After SIGTERM or SIGINT it saves a checkpoint and ends with status 75, as tools/train.py does.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [OPTIONS of tools/train.py]" >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

# torchrun does not pass on the status of its processes; they write theirs here.
SDR_MM_STATUS_FILE=$(mktemp)
export SDR_MM_STATUS_FILE
trap 'rm -f "$SDR_MM_STATUS_FILE"' EXIT

torchrun \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@" &
launcher=$!
trap 'kill -TERM "$launcher" 2>/dev/null || true' TERM INT

status=0
wait "$launcher" || status=$?
while kill -0 "$launcher" 2>/dev/null; do # A signal has ended the waiting, not the training.
    status=0
    wait "$launcher" || status=$?
done
if [ "$status" -ne 0 ] && [ -s "$SDR_MM_STATUS_FILE" ]; then
    status=$(head -n1 "$SDR_MM_STATUS_FILE")
fi
exit "$status"
