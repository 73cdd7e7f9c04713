#!/usr/bin/env bash
# Sets up the full environment in the folder $1: the maintained OpenMMLab packages and MMDetection.
#
# onedl-mmcv has no wheel, so its C++ operators are compiled against the installed torch, which takes
# 15 to 30 minutes on two cores. The wheel is kept in the cache: a second environment takes a minute.
set -euo pipefail

folder=$1
python=$folder/bin/python
files=78 # C++ files of onedl-mmcv, for the progress
cd "$(dirname "$0")/.."

install() {
    "$folder/bin/uv" pip install --python "$python" --constraint requirements/full.txt "$@"
}

echo "setting up $folder"
"${PYTHON:-python3}" -m venv "$folder"
"$python" -m pip install --quiet "uv==${UV_VERSION:?}"
# The build of mmcv imports torch, so it cannot run in isolation, and what it needs comes first.
install pip torch torchvision numpy psutil ninja 'setuptools>=77,<82' wheel

mmcv=$(grep '^onedl-mmcv==' requirements/full.txt)
# Compiled operators fit one version of Python and of torch only.
fits=$("$python" -c 'import sys, torch; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-torch{torch.__version__}")')
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/sdr_mm/wheels/$fits
if ! compgen -G "$wheels/onedl_mmcv-${mmcv#*==}-*.whl" >/dev/null; then
    echo "compiling the operators of $mmcv, $files files, once: 15 to 30 minutes on two cores"
    build=$(mktemp -d)
    trap 'kill $job 2>/dev/null || true; rm -rf "$build"' EXIT
    PATH="$PWD/$folder/bin:$PATH" TMPDIR="$build" MMCV_WITH_OPS=1 "$python" -m pip wheel --no-build-isolation --no-deps \
        --wheel-dir "$build/wheel" "$mmcv" >"$build/log" 2>&1 &
    job=$!
    started=$SECONDS
    while kill -0 $job 2>/dev/null; do
        sleep 10
        echo "  $(find "$build" -name '*.o' 2>/dev/null | wc -l) of $files files after $((SECONDS - started)) s"
    done
    if ! wait $job; then
        cat "$build/log" >&2
        echo "error: $mmcv did not compile (see above): install a C++ compiler and the Python headers, then try again" >&2
        exit 1
    fi
    mkdir -p "$wheels"
    mv "$build"/wheel/onedl_mmcv-*.whl "$wheels"
fi
install "$wheels"/onedl_mmcv-"${mmcv#*==}"-*.whl
install --editable '.[detection,data,test]' --no-build-isolation
