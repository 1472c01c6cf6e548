/* A stand-in for libnvidia-ml.so.1, with the calls that the inventory and `nvidia-ctk cdi generate` make.
 *
 * Names, arguments and results are those of NVIDIA's NVML API reference. What the cards are is in state.h.
 */
#include "state.h"

#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMED_OUT = 10 };
enum { MOST_GPUS = 16, MOST_INSTANCES = 7 };

typedef struct {
    int gpu, instance; /* instance -1: the whole GPU */
} handle_t;
typedef handle_t *device_t;

static handle_t handles[MOST_GPUS][1 + MOST_INSTANCES];

static device_t device(int gpu, int instance)
{
    device_t found = &handles[gpu][1 + instance];
    found->gpu = gpu;
    found->instance = instance;
    return found;
}

/* A value of a GPU, or of a MIG instance of one. */
static const char *of(device_t d, const char *key)
{
    return d->instance < 0 ? state("gpu%d.%s", d->gpu, key) : state("gpu%d.mig%d.%s", d->gpu, d->instance, key);
}

/* What a test wants this call to return; it may also want it to hang. */
static int wanted(device_t d, const char *call)
{
    while (state("hang"))
        usleep(10000);
    int all = (int)number(state("fail.%s", call), OK);
    return all || !d ? all : (int)number(state("gpu%d.fail.%s", d->gpu, call), OK);
}

#define CHECK(d)                                 \
    do {                                         \
        int result = wanted((d), __func__);      \
        if (result != OK)                        \
            return result;                       \
    } while (0)

static int text(char *to, unsigned size, const char *value, const char *otherwise)
{
    snprintf(to, size, "%s", value ? value : otherwise);
    return OK;
}

/* --- the library ------------------------------------------------------------------------------------------------- */

int nvmlInit_v2(void) { CHECK(NULL); return OK; }
int nvmlInit(void) { CHECK(NULL); return OK; }
/* With NO_ATTACH a real driver (580 on an H100) lists no card, nor finds one by name; nothing here asks for that. */
int nvmlInitWithFlags(unsigned flags) { CHECK(NULL); return flags ? 3 /* not supported */ : OK; }
int nvmlShutdown(void) { CHECK(NULL); return OK; }

const char *nvmlErrorString(int error)
{
    static __thread char words[64];
    snprintf(words, sizeof words, "fake error %d", error);
    return words;
}

int nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    CHECK(NULL);
    return text(version, size, state("driver"), DRIVER);
}

int nvmlSystemGetNVMLVersion(char *version, unsigned size)
{
    CHECK(NULL);
    return text(version, size, NULL, "13." DRIVER);
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
    CHECK(NULL);
    *version = (int)number(state("cuda"), CUDA);
    return OK;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

/* --- which devices there are --------------------------------------------------------------------------------------- */

/* In a container, where the state is not seen: as many as there are device nodes. */
static unsigned nodes(void)
{
    unsigned found = 0;
    char path[32];
    for (int minor = 0; minor < MOST_GPUS; minor++) {
        snprintf(path, sizeof path, "/dev/nvidia%d", minor);
        found += access(path, F_OK) == 0;
    }
    return found;
}

static unsigned gpus(void) { return (unsigned)number(state("gpus"), nodes()); }

int nvmlDeviceGetCount_v2(unsigned *count)
{
    CHECK(NULL);
    *count = gpus();
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *found)
{
    if (index >= MOST_GPUS || index >= gpus())
        return INVALID;
    CHECK(device((int)index, -1));
    *found = device((int)index, -1);
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *found)
{
    CHECK(NULL);
    for (int gpu = 0; gpu < MOST_GPUS; gpu++)
        for (int instance = -1; instance < MOST_INSTANCES; instance++) {
            const char *has = of(device(gpu, instance), "uuid");
            if (has && !strcmp(has, uuid)) {
                *found = device(gpu, instance);
                return OK;
            }
        }
    return NOT_FOUND;
}

int nvmlDeviceIsMigDeviceHandle(device_t d, unsigned *is)
{
    CHECK(d);
    *is = d->instance >= 0;
    return OK;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_t d, device_t *gpu)
{
    CHECK(d);
    *gpu = device(d->gpu, -1);
    return OK;
}

/* --- what a device is ------------------------------------------------------------------------------------------------ */

int nvmlDeviceGetIndex(device_t d, unsigned *index)
{
    CHECK(d);
    *index = (unsigned)d->gpu;
    return OK;
}

int nvmlDeviceGetUUID(device_t d, char *uuid, unsigned size)
{
    CHECK(d);
    const char *has = of(d, "uuid");
    return has ? text(uuid, size, has, "") : NOT_FOUND;
}

int nvmlDeviceGetName(device_t d, char *name, unsigned size)
{
    char model[96];
    CHECK(d);
    text(model, sizeof model, state("gpu%d.name", d->gpu), "Fake GPU");
    const char *profile = d->instance < 0 ? NULL : of(d, "profile");
    if (profile && *profile)
        snprintf(name, size, "%s MIG %s", model, profile);
    else
        snprintf(name, size, "%s", model);
    return OK;
}

int nvmlDeviceGetMinorNumber(device_t d, unsigned *minor)
{
    CHECK(d);
    *minor = (unsigned)number(state("gpu%d.minor", d->gpu), d->gpu);
    return OK;
}

typedef struct {
    unsigned long long total, free, used;
} memory_t;

int nvmlDeviceGetMemoryInfo(device_t d, memory_t *memory)
{
    CHECK(d);
    memory->total = (unsigned long long)number(of(d, "memory"), 0);
    memory->used = (unsigned long long)number(of(d, "used"), 0);
    memory->free = memory->total - memory->used;
    return OK;
}

typedef struct {
    char old_bus[16];
    unsigned domain, bus, device, id, subsystem;
    char bus_id[32];
} pci_t;

int nvmlDeviceGetPciInfo_v3(device_t d, pci_t *pci)
{
    CHECK(d);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", d->gpu + 1);
    const char *has = state("gpu%d.pci", d->gpu);
    if (has)
        text(pci->bus_id, sizeof pci->bus_id, has, "");
    snprintf(pci->old_bus, sizeof pci->old_bus, "%.15s", pci->bus_id + 4);
    sscanf(pci->bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    return OK;
}

int nvmlDeviceGetBrand(device_t d, int *brand) { CHECK(d); *brand = 0; return OK; }
int nvmlDeviceGetArchitecture(device_t d, unsigned *architecture) { CHECK(d); *architecture = 7; return OK; }

int nvmlDeviceGetCudaComputeCapability(device_t d, int *major, int *minor)
{
    CHECK(d);
    *major = 8;
    *minor = 0;
    return OK;
}

/* --- how it is ------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetTotalEccErrors(device_t d, int error, int counter, unsigned long long *count)
{
    CHECK(d);
    *count = error == 1 && counter == 0 ? (unsigned long long)number(of(d, "ecc"), 0) : 0;
    return OK;
}

int nvmlDeviceGetRemappedRows(device_t d, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed)
{
    CHECK(d);
    *corrected = *uncorrected = 0;
    *pending = (unsigned)number(of(d, "remap.pending"), 0);
    *failed = (unsigned)number(of(d, "remap.failed"), 0);
    return OK;
}

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int result;
    union { unsigned number; unsigned long long large; } value;
} field_t;

/* Of the many fields only the one for what has to be done with a card. */
int nvmlDeviceGetFieldValues(device_t d, int count, field_t *fields)
{
    enum { RECOVERY_ACTION = 230, UNSIGNED_INT = 1 };
    CHECK(d);
    for (field_t *one = fields; one < fields + count; one++) {
        one->result = one->field == RECOVERY_ACTION ? OK : NOT_SUPPORTED;
        one->type = UNSIGNED_INT;
        one->value.number = (unsigned)number(of(d, "recovery"), 0);
    }
    return OK;
}

/* --- what it does ---------------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned gpu, memory;
} rates_t;

int nvmlDeviceGetUtilizationRates(device_t d, rates_t *rates)
{
    CHECK(d);
    if (d->instance >= 0)
        return NOT_SUPPORTED;
    rates->gpu = (unsigned)number(of(d, "busy"), 0);
    rates->memory = 0;
    return OK;
}

int nvmlDeviceGetTemperature(device_t d, int sensor, unsigned *celsius)
{
    CHECK(d);
    if (sensor != 0)
        return INVALID;
    *celsius = (unsigned)number(of(d, "temperature"), 35);
    return OK;
}

int nvmlDeviceGetPowerUsage(device_t d, unsigned *milliwatts)
{
    CHECK(d);
    *milliwatts = (unsigned)number(of(d, "power"), 60000);
    return OK;
}

int nvmlDeviceGetTotalEnergyConsumption(device_t d, unsigned long long *millijoules)
{
    CHECK(d);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = (unsigned long long)number(of(d, "energy"), number(of(d, "power"), 60000) * now.tv_sec);
    return OK;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t d, unsigned long long *reasons)
{
    CHECK(d);
    *reasons = number(of(d, "hot"), 0) ? 0x40 : 0;
    return OK;
}

typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
} process_t;

static int processes(device_t d, const char *key, unsigned *count, process_t *list)
{
    char copy[4096], *rest = copy;
    unsigned found = 0;
    text(copy, sizeof copy, of(d, key), "");
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        if (!*one)
            continue;
        if (list && found < *count)
            list[found] = (process_t){(unsigned)atoi(one), strchr(one, ':') ? strtoull(strchr(one, ':') + 1, 0, 10) : 0, 0, 0};
        found++;
    }
    int enough = found == 0 || (list && found <= *count);
    *count = found;
    return enough ? OK : TOO_SMALL;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t d, unsigned *count, process_t *list)
{
    CHECK(d);
    return processes(d, "processes", count, list);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(device_t d, unsigned *count, process_t *list)
{
    CHECK(d);
    return processes(d, "mps", count, list);
}

typedef struct {
    unsigned pid;
    unsigned long long timestamp;
    unsigned sm, memory, encoder, decoder;
} sample_t;

/* As a real one: who asks without a buffer is told the most that there may be. */
int nvmlDeviceGetProcessUtilization(device_t d, sample_t *samples, unsigned *count, unsigned long long since)
{
    enum { MOST = 100 };
    char copy[4096], *rest = copy;
    struct timespec now;
    unsigned found = 0;
    (void)since;
    CHECK(d);
    if (d->instance >= 0 || state("gpu%d.mig", d->gpu))
        return NOT_SUPPORTED;
    if (!samples || *count < MOST) {
        *count = MOST;
        return TOO_SMALL;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    text(copy, sizeof copy, of(d, "computing"), "");
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        char *percent = strchr(one, ':');
        if (percent && found < MOST)
            samples[found++] = (sample_t){(unsigned)atoi(one), now.tv_sec * 1000000ull, (unsigned)strtoul(percent + 1, 0, 10), 0, 0, 0};
    }
    *count = found;
    return found ? OK : NOT_FOUND;
}

/* What dashboards ask for besides; these cards have neither NVLink nor counters of their bus. */
int nvmlDeviceGetNvLinkVersion(device_t d, unsigned link, unsigned *version) { (void)link; (void)version; CHECK(d); return NOT_SUPPORTED; }
int nvmlDeviceGetMaxPcieLinkGeneration(device_t d, unsigned *generation) { (void)generation; CHECK(d); return NOT_SUPPORTED; }

/* --- events ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    device_t device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
} event_t;

static long long heard[MOST_GPUS];
static int listens[MOST_GPUS];

int nvmlEventSetCreate(void **set) { CHECK(NULL); *set = heard; return OK; }
int nvmlEventSetFree(void *set) { (void)set; CHECK(NULL); return OK; }

int nvmlDeviceRegisterEvents(device_t d, unsigned long long types, void *set)
{
    (void)set;
    CHECK(d);
    if (d->instance >= 0 || !(types & 8))
        return NOT_SUPPORTED;
    listens[d->gpu] = 1;
    heard[d->gpu] = number(of(d, "xid"), 0);
    return OK;
}

int nvmlEventSetWait_v2(void *set, event_t *event, unsigned milliseconds)
{
    (void)set;
    for (unsigned waited = 0; waited <= milliseconds; waited += 10, usleep(10000)) {
        CHECK(NULL);
        for (int gpu = 0; gpu < MOST_GPUS; gpu++) {
            long long now = listens[gpu] ? number(of(device(gpu, -1), "xid"), 0) : 0;
            if (now && now != heard[gpu]) {
                *event = (event_t){device(gpu, -1), 8, (unsigned long long)now, 0, 0};
                heard[gpu] = now;
                return OK;
            }
        }
    }
    return TIMED_OUT;
}

/* --- MIG ------------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(device_t d, unsigned *current, unsigned *pending)
{
    CHECK(d);
    if (!state("gpu%d.mig", d->gpu))
        return NOT_SUPPORTED;
    *current = *pending = (unsigned)number(state("gpu%d.mig", d->gpu), 0);
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t d, unsigned *count)
{
    CHECK(d);
    *count = state("gpu%d.mig", d->gpu) ? MOST_INSTANCES : 0;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t d, unsigned index, device_t *found)
{
    CHECK(d);
    if (index >= MOST_INSTANCES || !of(device(d->gpu, (int)index), "uuid"))
        return NOT_FOUND;
    *found = device(d->gpu, (int)index);
    return OK;
}

int nvmlDeviceGetGpuInstanceId(device_t d, unsigned *id)
{
    CHECK(d);
    *id = (unsigned)number(of(d, "gi"), 0);
    return OK;
}

int nvmlDeviceGetComputeInstanceId(device_t d, unsigned *id)
{
    CHECK(d);
    *id = (unsigned)number(of(d, "ci"), 0);
    return OK;
}

typedef struct {
    unsigned multiprocessors, copy, decoders, encoders, jpeg, ofa, slices, parts;
    unsigned long long memory_mib;
} attributes_t;

int nvmlDeviceGetAttributes_v2(device_t d, attributes_t *has)
{
    CHECK(d);
    memset(has, 0, sizeof *has);
    has->slices = (unsigned)number(of(d, "slices"), 1);
    has->parts = (unsigned)number(of(d, "parts"), has->slices);
    has->memory_mib = (unsigned long long)number(of(d, "memory"), 0) >> 20;
    return OK;
}
