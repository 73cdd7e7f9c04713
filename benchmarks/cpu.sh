#!/usr/bin/env bash
# The benchmarks that fit a machine without a GPU, one thread each. Tables in the terminal, JSON in a folder.
#     bash benchmarks/cpu.sh work_dirs/bench
set -euo pipefail
out=${1:?give a folder for the JSON files}
python=${PYTHON:-python}
tasks="$out/data"
mkdir -p "$out"
[ -d "$tasks" ] || "$python" -m projects.real_data fluent_category fluent_fine sweet_home --out "$tasks"

bench() {
    local name=$1 script=$2
    shift 2
    echo && echo "== $script $*"
    "$python" -W ignore "benchmarks/$script.py" "$@" --threads 1 --json "$out/$name.json"
}
bench subnet_step subnet_step
bench subnet_step_small subnet_step --depth 18 --size 32 --batch-size 64
bench training_time training_time --size 64
bench memory memory
bench knn knn
bench clustering clustering
bench clustering_equal clustering --assign posterior --min-size 78
bench linear linear "$tasks/fluent_category" "$tasks/sweet_home" "$tasks/fluent_fine"
bench prefix_sharing prefix_sharing --task "$tasks/fluent_category" --images 40
bench halving halving "$tasks/fluent_category" --splits 1 --settings 4
bench loader loader
bench scale scale
