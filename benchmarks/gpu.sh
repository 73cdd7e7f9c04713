#!/usr/bin/env bash
# What needs a GPU, on one, in ten minutes: that it gives what a CPU gives, and the benchmarks at real sizes.
#     bash benchmarks/gpu.sh work_dirs/bench_gpu
set -euo pipefail
out=${1:?give a folder for the JSON files}
python=${PYTHON:-python}
mkdir -p "$out"
"$python" -m pytest -q tests/test_cuda.py

bench() {
    local name=$1 script=$2
    shift 2
    echo && echo "== $script $*"
    timeout 150 "$python" -W ignore "benchmarks/$script.py" "$@" --json "$out/$name.json" || echo "$script ended with status $?"
}
bench subnet_step subnet_step --size 224 --batch-size 64
bench subnet_step_amp subnet_step --size 224 --batch-size 64 --channels-last --amp bfloat16
bench training_time training_time --depth 50 --size 224 --batch-size 64 --amp bfloat16 --subnets 4 256 --rounds 5
bench memory memory --batch-size 64 --amp bfloat16
bench compiled compiled --amp bfloat16 --rounds 10
bench knn knn --train 75750 --test 25250 --dimensions 2048
bench loader loader --images 128 --rounds 5
bench loader_dali loader --images 128 --rounds 5 --decoder dali
bench routing routing
