/* A stand-in for libcuda.so.1: like the real one it offers the cards whose device nodes this process can see. */
#include <stdio.h>
#include <unistd.h>

enum { OK = 0, NO_DEVICE = 100 };

static int cards(void)
{
    int found = 0;
    for (int minor = 0; minor < 16; minor++) {
        char node[32];
        snprintf(node, sizeof node, "/dev/nvidia%d", minor);
        found += access(node, R_OK | W_OK) == 0;
    }
    return found;
}

int cuInit(unsigned flags)
{
    (void)flags;
    return cards() ? OK : NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    *version = CUDA;
    return OK;
}

int cuDeviceGetCount(int *count)
{
    *count = cards();
    return OK;
}

int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal < cards() ? OK : NO_DEVICE;
}

int cuDeviceGetName(char *name, int size, int device)
{
    (void)device;
    snprintf(name, (size_t)size, "Fake A100 80GB");
    return OK;
}
