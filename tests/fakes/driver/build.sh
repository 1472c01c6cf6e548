#!/bin/bash
# Build a fake NVIDIA driver: a folder with what the driver's packages would put under /.
#
#   build.sh ROOT [N]     N cards, 2 unless given
#
# Needs a C compiler; as root it also makes the device nodes, under which there is no card. The cards' state is in
# nvml.state beside the libraries and may be changed at any time, see state.h.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$1
count=${2:-2}
driver=580.95.05
cuda=13000

libraries=$root/usr/lib/$(uname -m)-linux-gnu
mkdir -p "$libraries" "$root/etc" "$root/dev"

library() { # source, name
    gcc -shared -fPIC -O1 -Wall -Wextra "-DDRIVER=\"$driver\"" -DCUDA=$cuda "-Wl,-soname,$2.so.1" \
        -o "$libraries/$2.so.$driver" "$here/$1" -ldl
    ln -sf "$2.so.$driver" "$libraries/$2.so.1"
}
library nvml.c libnvidia-ml
library cuda.c libcuda
ln -sf libcuda.so.1 "$libraries/libcuda.so"

{
    echo "gpus=$count"
    for ((n = 0; n < count; n++)); do
        printf 'gpu%d.uuid=GPU-00000000-0000-4000-8000-%012d\n' "$n" "$n"
        printf 'gpu%d.name=Fake A100 80GB\n' "$n"
        printf 'gpu%d.memory=%d\n' "$n" $((80 * 1024 ** 3))
    done
} > "$libraries/nvml.state"

if [ "$(id -u)" = 0 ]; then
    echo "/usr/lib/$(uname -m)-linux-gnu" > "$root/etc/ld.so.conf"
    ldconfig -r "$root"
    node() { # name, major, minor
        [ -c "$root/dev/$1" ] || mknod -m 666 "$root/dev/$1" c "$2" "$3"
    }
    for ((n = 0; n < count; n++)); do
        node "nvidia$n" 195 "$n"
    done
    node nvidiactl 195 255
    node nvidia-uvm 511 0
fi
