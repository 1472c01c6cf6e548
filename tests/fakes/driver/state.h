/* The state of the fake driver: lines `key=value` in the file `nvml.state` beside the library.
 *
 * It is read anew at every question, so that a test changes the cards of running processes by writing the file.
 *
 *   driver=580.95.05            gpus=2                    fail.nvmlInitWithFlags=9    a call's result, for every device
 *   cuda=13000                  hang=1                    waits until the line is gone
 *   gpu0.uuid=GPU-...           gpu0.name=...             gpu0.memory=85899345920
 *   gpu0.minor=0                gpu0.pci=00000000:01:00.0 gpu0.processes=4711:1048576,4712:0
 *   gpu0.computing=4711:37,4712:5 (percent, by process)
 *   gpu0.ecc=0                  gpu0.remap.pending=0      gpu0.remap.failed=0
 *   gpu0.busy=97 (percent)      gpu0.used=1048576         gpu0.temperature=61
 *   gpu0.power=250000 (mW)      gpu0.energy=1000 (mJ; left out: grows with the time and the power)
 *   gpu0.hot=1                  gpu0.xid=79 (told once for each new value)
 *   gpu0.recovery=1             what has to be done with it, as NVML_GPU_RECOVERY_ACTION_*
 *   gpu0.fail.nvmlDeviceGetUUID=15                        the same for one device
 *   gpu0.mig=1                  gpu0.mig0.uuid=MIG-...    gpu0.mig0.profile=1g.10gb (empty: not in the name)
 *   gpu0.mig0.memory=...        gpu0.mig0.gi=1            gpu0.mig0.ci=0
 *   gpu0.mig0.slices=1          gpu0.mig0.parts=1         gpu0.mig0.processes=...
 */
#ifndef STATE_H
#define STATE_H

#define _GNU_SOURCE /* dladdr */

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of a key, or NULL. It is good until the same thread asks again. */
static const char *state(const char *format, ...)
{
    static __thread char line[4096];
    char key[256], path[4096];
    Dl_info self;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(key, sizeof key, format, arguments);
    va_end(arguments);
    if (!dladdr((void *)state, &self))
        return NULL;
    snprintf(path, sizeof path, "%s", self.dli_fname);
    char *slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, sizeof path - (slash ? slash + 1 - path : 0), "nvml.state");

    FILE *file = fopen(path, "r");
    const char *found = NULL;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *equals = strchr(line, '=');
        line[strcspn(line, "\n")] = 0;
        if (equals && (size_t)(equals - line) == strlen(key) && !strncmp(line, key, strlen(key)))
            found = equals + 1;
    }
    if (file)
        fclose(file);
    return found;
}

static long long number(const char *text, long long otherwise)
{
    return text && *text ? atoll(text) : otherwise;
}

#endif
