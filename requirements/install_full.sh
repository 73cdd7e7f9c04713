#!/usr/bin/env bash
# Sets up the full environment in the folder $1: the maintained OpenMMLab packages and MMDetection.
#
# onedl-mmcv has no wheel, so its C++ operators are compiled against the installed torch, which takes
# 15 to 30 minutes on two cores. The result stays in uv's cache: a second environment takes a minute.
set -euo pipefail

folder=$1
python=$folder/bin/python
uv=$folder/bin/uv
files=78
cd "$(dirname "$0")/.."

install() {
    "$uv" pip install --python "$python" --constraint requirements/full.txt "$@"
}

echo "setting up $folder"
"${PYTHON:-python3}" -m venv "$folder"
"$python" -m pip install --quiet "uv==${UV_VERSION:?}"
# The build of mmcv imports torch, so it cannot run in isolation, and what it needs comes first.
install torch torchvision numpy psutil ninja 'setuptools>=77,<82' wheel

echo "installing onedl-mmcv: unless its operators were compiled before, $files files, 15 to 30 minutes on two cores"
log=$(mktemp)
MMCV_WITH_OPS=1 "$uv" pip install --python "$python" --constraint requirements/full.txt --no-build-isolation \
    onedl-mmcv >"$log" 2>&1 &
build=$!
trap 'kill $build 2>/dev/null || true; rm -f "$log"' EXIT
sources=$("$uv" cache dir)
started=$SECONDS
while kill -0 $build 2>/dev/null; do
    sleep 5
    if [ $(((SECONDS - started) / 5 % 6)) -eq 0 ]; then
        # Only object files of this build count, not those of an earlier one.
        done=$(find "$sources" -name '*.o' -newer "$log" -path '*mmcv*' 2>/dev/null | wc -l)
        echo "  compiled $done of $files files after $(((SECONDS - started) / 60)) min"
    fi
done
if ! wait $build; then
    cat "$log" >&2
    echo "error: onedl-mmcv did not compile (see above): install a C++ compiler and the Python headers, then try again" >&2
    exit 1
fi

install --no-build-isolation --editable '.[detection,data,test]'
