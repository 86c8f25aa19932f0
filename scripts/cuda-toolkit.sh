#!/usr/bin/env bash
# Puts the run-time libraries that `deeplpf --device cuda:N` looks up into one folder, from pinned PyPI
# wheels. No root, no GPU, no compiler.
#
#   scripts/cuda-toolkit.sh FOLDER [12|13]        then:  source FOLDER/env.sh
#
# Building with `--features cuda` needs none of this: the program looks libraries up when it runs. It
# needs three of them: the driver (libcuda.so.1, which only NVIDIA's driver package brings and no wheel
# can), nvrtc, and cuDNN 9; cuDNN itself may look up cuBLASLt and, for engines it compiles, nvrtc. 13 (the
# default) is for drivers of CUDA 13.0 and later; take 12 for those of CUDA 12.x, because a driver does
# not load what a newer nvrtc makes.
#
# A machine with a PyTorch of the same CUDA version has these libraries already: see docs/src/cuda.md.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then sed -n '2,/^set/{/^set/!p}' "$0" | sed 's/^# \{0,1\}//'; exit 2; fi
folder=$1
cuda=${2:-13}
python=${PYTHON:-python3}

# Versions that PyTorch 2.11 pins for the same CUDA, and what the registry served when they were chosen.
case $cuda in
13)
    requirements='nvidia-cuda-nvrtc==13.0.88 --hash=sha256:ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cudnn-cu13==9.19.0.56 --hash=sha256:d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf
nvidia-cublas==13.1.0.3 --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171'
    ;;
12)
    requirements='nvidia-cuda-nvrtc-cu12==12.9.86 --hash=sha256:210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4
nvidia-cudnn-cu12==9.19.0.56 --hash=sha256:ac6ad90a075bb33a94f2b4cf4622eac13dd4dc65cf6dd9c7572a318516a36625
nvidia-cublas-cu12==12.9.1.4 --hash=sha256:453611eb21a7c1f2c2156ed9f3a45b691deda0440ec550860290dc901af5b4c2'
    ;;
*) echo "error: CUDA $cuda: 12 or 13 can be had" >&2; exit 2 ;;
esac
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "error: these wheels are for Linux on x86-64, this is $(uname -sm)" >&2
    exit 1
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "error: $python has no pip; install it, or name another with PYTHON=..." >&2
    exit 1
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
list=$(mktemp)
trap 'rm -f "$list"' EXIT
printf '%s\n' "$requirements" >"$list"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --no-cache-dir --only-binary=:all: \
    --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --require-hashes --upgrade --target "$folder/site" -r "$list"

# One folder of links, so that LD_LIBRARY_PATH has one entry.
rm -rf "$folder/lib"
mkdir "$folder/lib"
find "$folder/site/nvidia" -name 'lib*.so*' ! -name '*.alt.so*' -exec ln -sf -t "$folder/lib" {} +
for library in libnvrtc libcudnn libcublasLt; do
    if ! compgen -G "$folder/lib/$library.so.*" >/dev/null; then
        echo "error: the wheels hold no $library" >&2
        exit 1
    fi
done
cat >"$folder/env.sh" <<END
# Where deeplpf finds nvrtc and cuDNN.
export LD_LIBRARY_PATH="$folder/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
END
echo "libraries of CUDA $cuda in $folder/lib ($(du -sh "$folder/site" | cut -f1)); source $folder/env.sh"
