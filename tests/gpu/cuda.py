"""Work for a real GPU by the driver's library alone, without any CUDA toolkit: what a session's programs come down to.

python cuda.py double        double a number on the first GPU; what was seen of it, as JSON
python cuda.py fault         write where nothing is, as a wrong program does; the CUDA error's number
python cuda.py hold MIB      take memory of the GPU, say so, and keep it until standard input ends
python cuda.py work MIB      the same, and compute meanwhile
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
from ctypes import byref, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

PTX = b"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry double(.param .u64 place) {
    .reg .u64 %place;
    .reg .u32 %value;
    ld.param.u64 %place, [place];
    ld.global.u32 %value, [%place];
    add.u32 %value, %value, %value;
    st.global.u32 [%place], %value;
    ret;
}
"""
NOWHERE = 0x10
NOT_INITIALISED = 3


class CudaError(Exception):
    """A call of the driver that failed, with its number."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} failed with error {code}")
        self.code = code


class Gpu:
    """The first GPU that this process sees, with a context of its own."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", 0)
        device, context = c_int(), c_void_p()
        self._call("cuDeviceGet", byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._device = device

    def count(self) -> int:
        value = c_int()
        self._call("cuDeviceGetCount", byref(value))
        return value.value

    def uuid(self) -> str:
        raw = (c_char * 16)()
        self._call("cuDeviceGetUuid_v2", byref(raw), self._device)
        h = bytes(raw).hex()
        return f"GPU-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def take(self, size: int) -> c_uint64:
        place = c_uint64()
        self._call("cuMemAlloc_v2", byref(place), c_size_t(size))
        return place

    def double(self, value: int) -> int:
        place, number = self.take(4), c_uint32(value)
        self._call("cuMemcpyHtoD_v2", place, byref(number), c_size_t(4))
        self._launch(place)
        self._call("cuMemcpyDtoH_v2", byref(number), place, c_size_t(4))
        return number.value

    def fault(self) -> int:
        try:
            self._launch(c_uint64(NOWHERE))
        except CudaError as error:
            return error.code
        return 0

    def _launch(self, place: c_uint64) -> None:
        module, function = c_void_p(), c_void_p()
        self._call("cuModuleLoadData", byref(module), c_char_p(PTX))
        self._call("cuModuleGetFunction", byref(function), module, b"double")
        arguments = (c_void_p * 1)(ctypes.cast(byref(place), c_void_p))
        self._call("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
        self._call("cuCtxSynchronize")

    def _call(self, name: str, *arguments: object) -> None:
        if code := getattr(self._cuda, name)(*arguments):
            raise CudaError(name, code)


def main(action: str, *rest: str) -> None:
    """Do one of the things above."""
    nodes = sorted(map(str, Path("/dev").glob("nvidia*")))
    if action == "fault":
        print(json.dumps({"error": Gpu().fault()}))
    elif action in {"hold", "work"}:
        gpu = Gpu()
        gpu.take(int(rest[0]) * 1024**2)
        print("held", flush=True)
        while action == "work" and not select.select([sys.stdin], [], [], 0)[0]:
            gpu.double(1)
        sys.stdin.read()
    else:
        seen = {"nodes": nodes, "user": os.getuid(), "visible": os.environ.get("NVIDIA_VISIBLE_DEVICES")}
        try:
            gpu = Gpu()
            seen |= {"cards": gpu.count(), "uuid": gpu.uuid(), "doubled": gpu.double(21)}
        except (OSError, CudaError) as error:
            seen |= {"error": str(error)}
        print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
