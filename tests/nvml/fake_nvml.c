/*
 * A scripted stand-in for libnvidia-ml.so.1, for tests on machines without a GPU.
 *
 *   cc -O2 -fPIC -shared -fvisibility=hidden -pthread \
 *      -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 fake_nvml.c
 *
 * It reads the file named by $FAKE_NVML_STATE and reads it again whenever the
 * file changes, so a test drives it by replacing that file (write, then rename).
 * One statement per line, words separated by blanks, sizes in bytes:
 *
 *   driver 580.82.07
 *   gpu   <index> [key=value ...]       keys: name uuid bus total used reserved free
 *                                       temp power_mw util energy_mj mig(0|1)
 *   proc  <index> <C|G|M> <pid> <bytes|na>
 *   fault <function|*> <index|*> <nvml error code>
 *   hang  <function|*> <index|*>        until the statement is gone
 *
 * A total of 0 imitates a unified-memory part, code 13 a driver that lacks the function.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int
#define NA 0xffffffffu
enum { OK, UNINIT, BADARG, UNSUPPORTED, SMALL = 7, VERSION = 25,
       HANG = -1, NO_DEVICE = -2, ANY = -1, MAXDEV = 64, MAXPROC = 256, MAXFAULT = 64 };

typedef unsigned int u32;
typedef unsigned long long u64;

/* The layouts NVML and nvidia-ml-py agree on (x86-64 and aarch64). */
typedef struct { u64 total, free, used; } Memory;                          /* 24 */
typedef struct { u32 version; u64 total, reserved, free, used; } Memory2;  /* 40 */
typedef struct { u32 pid; u64 used; u32 gi, ci; } Process;                 /* 24, v2 = v3 */
typedef struct { u32 gpu, memory; } Utilization;
typedef struct { u32 version, sensor; int celsius; } Temperature;          /* v1: 12 */
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem;
                 char bus_id[32]; } Pci;                                   /* v3: 68 */
_Static_assert(sizeof(Memory2) == 40 && sizeof(Process) == 24, "layout");
_Static_assert(sizeof(Temperature) == 12 && sizeof(Pci) == 68, "layout");

typedef struct {
    int index;
    char name[96], uuid[80], bus[32];
    u64 total, used, reserved, free, energy_mj;
    u32 temp, power_mw, util, mig;
} Device;
typedef struct { int dev; char kind; Process p; } Proc;
typedef struct { char fn[64]; int dev, code; } Fault;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int refs;
static int ndev, nproc, nfault;
static char driver[80];
static Device devs[MAXDEV];
static Proc procs[MAXPROC];
static Fault faults[MAXFAULT];
static struct timespec loaded;
static ino_t loaded_ino;

static void set(Device *d, const char *word)
{
    const char *v = strchr(word, '=');
    if (!v) return;
    size_t n = (size_t)(v++ - word);
#define IS(k) (n == strlen(k) && !strncmp(word, k, n))
#define NUM(field) else if (IS(#field)) d->field = strtoull(v, 0, 0)
    if (IS("name")) { snprintf(d->name, sizeof d->name, "%s", v);
                      for (char *c = d->name; *c; c++) if (*c == '_') *c = ' '; }
    else if (IS("uuid")) snprintf(d->uuid, sizeof d->uuid, "%s", v);
    else if (IS("bus")) snprintf(d->bus, sizeof d->bus, "%s", v);
    NUM(total); NUM(used); NUM(reserved); NUM(free); NUM(energy_mj);
    NUM(temp); NUM(power_mw); NUM(util); NUM(mig);
#undef NUM
#undef IS
}

static void load(void)                             /* called with the lock held */
{
    const char *path = getenv("FAKE_NVML_STATE");
    struct stat st;
    if (!path || stat(path, &st)) { ndev = nproc = nfault = 0; return; }
    if (st.st_ino == loaded_ino && !memcmp(&st.st_mtim, &loaded, sizeof loaded)) return;
    FILE *f = fopen(path, "r");
    if (!f) return;
    loaded = st.st_mtim;
    loaded_ino = st.st_ino;
    ndev = nproc = nfault = 0;
    snprintf(driver, sizeof driver, "580.82.07");
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        char *save, *w = strtok_r(line, " \t\n", &save);
        char *a[32];
        int n = 0;
        if (!w) continue;
        while (n < 32 && (a[n] = strtok_r(0, " \t\n", &save))) n++;
        if (!strcmp(w, "driver") && n) snprintf(driver, sizeof driver, "%s", a[0]);
        else if (!strcmp(w, "gpu") && n && ndev < MAXDEV) {
            Device *d = &devs[ndev];
            *d = (Device){ .index = ndev, .temp = 40 };
            snprintf(d->name, sizeof d->name, "Fake GPU");
            snprintf(d->uuid, sizeof d->uuid, "GPU-00000000-0000-0000-0000-%012d", ndev);
            snprintf(d->bus, sizeof d->bus, "00000000:%02X:00.0", ndev + 1);
            for (int i = 1; i < n; i++) set(d, a[i]);
            ndev++;
        } else if (!strcmp(w, "proc") && n >= 4 && nproc < MAXPROC) {
            procs[nproc++] = (Proc){ atoi(a[0]), a[1][0],
                { (u32)atoi(a[2]), strcmp(a[3], "na") ? strtoull(a[3], 0, 0) : ~0ull, NA, NA } };
        } else if (nfault < MAXFAULT && ((!strcmp(w, "fault") && n >= 3) ||
                                         (!strcmp(w, "hang") && n >= 2))) {
            Fault *x = &faults[nfault++];
            snprintf(x->fn, sizeof x->fn, "%s", a[0]);
            x->dev = a[1][0] == '*' ? ANY : atoi(a[1]);
            x->code = *w == 'h' ? HANG : atoi(a[2]);
        }
    }
    fclose(f);
}

/* The gate every function passes: fresh state, faults, then the usual checks. */
static int gate(const char *fn, int dev, int needs_init)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        load();
        int code = needs_init && !refs ? UNINIT : OK;
        for (int i = 0; i < nfault && !code; i++)
            if ((!strcmp(faults[i].fn, "*") || !strcmp(faults[i].fn, fn)) &&
                (faults[i].dev == ANY || faults[i].dev == dev))
                code = faults[i].code;
        pthread_mutex_unlock(&lock);
        if (code != HANG) return code;
        usleep(1000);
    }
}
#define GATE(dev, init) do { int c_ = gate(__func__, dev, init); if (c_) return c_; } while (0)
#define DEV Device *d = h; do { if (!d || d < devs || d >= devs + MAXDEV) return BADARG; \
                                GATE(d->index, 1); } while (0)
static int give(char *out, u32 room, const char *s)
{
    if (strlen(s) >= room) return SMALL;
    strcpy(out, s);
    return OK;
}

/* Library and system. */
API nvmlInitWithFlags(u32 flags) { (void)flags; GATE(NO_DEVICE, 0); refs++; return OK; }
API nvmlShutdown(void) { GATE(NO_DEVICE, 0); if (!refs) return UNINIT; refs--; return OK; }
__attribute__((visibility("default"))) const char *nvmlErrorString(int code)
{ return code ? "fake NVML error" : "Success"; }
API nvmlSystemGetDriverVersion(char *s, u32 n) { GATE(NO_DEVICE, 1); return give(s, n, driver); }

/* Finding devices. */
API nvmlDeviceGetCount_v2(u32 *n) { GATE(NO_DEVICE, 1); *n = (u32)ndev; return OK; }
API nvmlDeviceGetHandleByIndex_v2(u32 i, Device **out)
{ GATE((int)i, 1); if (i >= (u32)ndev) return BADARG; *out = &devs[i]; return OK; }
API nvmlDeviceGetName(void *h, char *s, u32 n) { DEV; return give(s, n, d->name); }
API nvmlDeviceGetUUID(void *h, char *s, u32 n) { DEV; return give(s, n, d->uuid); }
API nvmlDeviceGetPciInfo_v3(void *h, Pci *p)
{
    DEV;
    memset(p, 0, sizeof *p);
    sscanf(d->bus, "%x:%x:%x", &p->domain, &p->bus, &p->device);
    snprintf(p->bus_id, sizeof p->bus_id, "%s", d->bus);
    return OK;
}
API nvmlDeviceGetMigMode(void *h, u32 *now, u32 *next) { DEV; *now = *next = d->mig; return OK; }

/* Memory: total = free + used + reserved in v2; v1 counts the reserved bytes as used.
 * `free` given in the script stands for a driver whose numbers do not add up. */
static u64 unused(const Device *d)
{ if (d->free) return d->free; return d->total > d->used + d->reserved ? d->total - d->used - d->reserved : 0; }
API nvmlDeviceGetMemoryInfo(void *h, Memory *m)
{
    DEV;
    if (!d->total) return UNSUPPORTED;
    *m = (Memory){ d->total, unused(d), d->used + d->reserved };
    return OK;
}
API nvmlDeviceGetMemoryInfo_v2(void *h, Memory2 *m)
{
    DEV;
    if (m->version != (sizeof *m | 2u << 24)) return VERSION;
    if (!d->total) return UNSUPPORTED;
    *m = (Memory2){ m->version, d->total, d->reserved, unused(d), d->used };
    return OK;
}

static int list(Device *d, char kind, u32 *count, Process *out)
{
    u32 n = 0, room = *count;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < nproc; i++)
        if (procs[i].dev == d->index && procs[i].kind == kind) {
            if (out && n < room) out[n] = procs[i].p;
            n++;
        }
    pthread_mutex_unlock(&lock);
    *count = n;
    return n > room ? SMALL : OK;
}
#define LIST(name, kind) \
    API name##_v2(void *h, u32 *n, Process *p) { DEV; return list(d, kind, n, p); } \
    API name##_v3(void *h, u32 *n, Process *p) { DEV; return list(d, kind, n, p); }
LIST(nvmlDeviceGetComputeRunningProcesses, 'C')
LIST(nvmlDeviceGetGraphicsRunningProcesses, 'G')
LIST(nvmlDeviceGetMPSComputeRunningProcesses, 'M')

/* Health. */
API nvmlDeviceGetUtilizationRates(void *h, Utilization *u)
{ DEV; if (d->mig) return UNSUPPORTED; u->gpu = d->util; u->memory = 0; return OK; }
API nvmlDeviceGetTemperature(void *h, int sensor, u32 *t) { DEV; (void)sensor; *t = d->temp; return OK; }
API nvmlDeviceGetTemperatureV(void *h, Temperature *t) { DEV; t->celsius = (int)d->temp; return OK; }
API nvmlDeviceGetPowerUsage(void *h, u32 *mw) { DEV; *mw = d->power_mw; return OK; }
API nvmlDeviceGetTotalEnergyConsumption(void *h, u64 *mj) { DEV; *mj = d->energy_mj; return OK; }
