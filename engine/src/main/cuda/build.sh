#!/usr/bin/env bash
# Compiles every .cu file here to a fatbin (PTX for sm_80, machine code for sm_90a); no GPU needed.
#   build.sh RESOURCES LOGS
# A file is compiled again when it or a header changed. Without an nvcc that knows Hopper the build
# goes on without kernels, and says so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
resources=$1
logs=$2
if ! command -v nvcc >/dev/null 2>&1; then
  echo "CUDA kernels left out of this build: no nvcc on the PATH"
  exit 0
fi
if ! nvcc --list-gpu-code 2>/dev/null | grep -qx sm_90; then
  echo "CUDA kernels left out of this build: $(command -v nvcc) does not know sm_90; CUDA 12.8 or newer does"
  exit 0
fi
mkdir -p "$resources" "$logs"

compile() {
  local name=$1 out=$resources/$1.fatbin log=$logs/$1.ptxas.txt
  if ! nvcc -std=c++17 -O3 -fatbin -Werror all-warnings -Xptxas -v \
    -gencode arch=compute_80,code=compute_80 -gencode arch=compute_90a,code=sm_90a \
    "$here/$name.cu" -o "$out.new" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$out.new"
    return 1
  fi
  mv "$out.new" "$out"
  echo "compiled $name.cu"
}

pids=()
for source in "$here"/*.cu; do
  name=$(basename "$source" .cu)
  out=$resources/$name.fatbin
  if [ -f "$out" ] && [ -f "$logs/$name.ptxas.txt" ] &&
    [ -z "$(find "$source" "$here"/*.cuh "$0" -newer "$out" -print -quit)" ]; then
    continue
  fi
  compile "$name" &
  pids+=($!)
done
for pid in "${pids[@]}"; do
  wait "$pid"
done
