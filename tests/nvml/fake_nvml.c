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
 *   driver 580.82.07 [strict]           strict: refused (18) where another was there first
 *   gpu   <index> [key=value ...]       keys: name uuid bus total used reserved free temp
 *                                       power_mw util memutil energy_mj persistence events;
 *                                       and, NOT_SUPPORTED where they are not given: mig(0|1)
 *                                       mig_pending limit_mw clock mem_clock (MHz) reasons
 *                                       ecc_corrected ecc_uncorrected pcie_gen pcie_width numa
 *   mig   <gpu> <slot> [key=value ...]  an instance: as gpu, and gi ci sm memory_mib
 *   proc  <gpu> <C|G|M> <pid> <bytes|na> [gi [ci]]
 *   event <serial> <gpu> <type> <data>  to every set that registered the type (xid: 8)
 *   field <index> <field id> <value>
 *   fault <function|*> <index|*> <nvml error code> [delay in ms]
 *   hang  <function|*> <index|*>        until the statement is gone
 *
 * A total of 0 imitates a unified-memory part, code 13 a driver that lacks the function, code 0
 * only delays. Instances take the indices after the last gpu, in the order of the file. An event
 * goes to the sets there are when it is first delivered: a set made later does not get it again.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default"))) int
#define NA 0xffffffffu
#define UNSET ~0ull
enum { OK, UNINIT, BADARG, UNSUPPORTED, NOT_FOUND = 6, SMALL, TIMEOUT = 10, OTHER = 18, VERSION = 25,
       HANG = -1, NO_DEVICE = -2, ANY = -1, WHOLE = -1,
       MAXDEV = 64, MAXPROC = 512, MAXFAULT = 64, MAXEVENT = 64, MAXFIELD = 64, MAXSET = 16 };

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
typedef struct { void *device; u64 type, data; u32 gi, ci; } Event;        /* 32 */
typedef struct { u32 field, scope; long long stamp, latency; u32 type; int ret;
                 u64 value; } Field;                                       /* 40 */
typedef struct { u32 sm, copy, decode, encode, jpeg, ofa, gi_slices, ci_slices;
                 u64 memory_mib; } Attributes;                             /* 40 */
_Static_assert(sizeof(Memory2) == 40 && sizeof(Process) == 24, "layout");
_Static_assert(sizeof(Temperature) == 12 && sizeof(Pci) == 68, "layout");
_Static_assert(sizeof(Event) == 32 && sizeof(Field) == 40 && sizeof(Attributes) == 40, "layout");

typedef struct {
    int index, parent, slot;                       /* parent WHOLE: a GPU, not an instance */
    char name[96], uuid[80], bus[32];
    u64 total, used, reserved, free, energy_mj, events, temp, power_mw, util, memutil, persistence;
    u64 mig, mig_pending, limit_mw, clock, mem_clock, reasons, ecc_corrected, ecc_uncorrected,
        pcie_gen, pcie_width, numa, gi, ci, sm, memory_mib;    /* UNSET where not given */
} Device;
typedef struct { int dev; char kind; Process p; } Proc;
typedef struct { char fn[64]; int dev, code, delay_ms; } Fault;
typedef struct { u64 serial; int dev; u64 type, data; } Happening;
typedef struct { int dev; u32 id; u64 value; } Value;
typedef struct { int live; u64 seen, mask[MAXDEV]; } EventSet;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int refs;
static int ngpu, ndev, nproc, nfault, nevent, nvalue, strict;
static u64 delivered;                              /* the last serial that any set was given */
static char driver[80], first[80], loaded_path[4096];
static Device devs[MAXDEV];
static Proc procs[MAXPROC];
static Fault faults[MAXFAULT];
static Happening events[MAXEVENT];
static Value values[MAXFIELD];
static EventSet sets[MAXSET];
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
    NUM(total); NUM(used); NUM(reserved); NUM(free); NUM(energy_mj); NUM(events); NUM(temp);
    NUM(power_mw); NUM(util); NUM(memutil); NUM(persistence); NUM(mig); NUM(mig_pending);
    NUM(limit_mw); NUM(clock); NUM(mem_clock); NUM(reasons); NUM(ecc_corrected);
    NUM(ecc_uncorrected); NUM(pcie_gen); NUM(pcie_width); NUM(numa); NUM(gi); NUM(ci);
    NUM(sm); NUM(memory_mib);
#undef NUM
#undef IS
}

static void add_device(int mig, char **a, int n)
{
    Device *d = &devs[ndev];
    *d = (Device){ .index = ndev, .parent = mig ? atoi(a[0]) : WHOLE,
                   .slot = mig && n > 1 ? atoi(a[1]) : 0, .temp = 40, .events = 0x8,
                   .mig = UNSET, .mig_pending = UNSET, .limit_mw = UNSET, .clock = UNSET,
                   .mem_clock = UNSET, .reasons = UNSET, .ecc_corrected = UNSET,
                   .ecc_uncorrected = UNSET, .pcie_gen = UNSET, .pcie_width = UNSET,
                   .numa = UNSET, .gi = UNSET, .ci = UNSET, .sm = UNSET, .memory_mib = UNSET };
    snprintf(d->name, sizeof d->name, mig ? "Fake GPU MIG" : "Fake GPU");
    snprintf(d->uuid, sizeof d->uuid, "%s-00000000-0000-0000-0000-%012d", mig ? "MIG" : "GPU", ndev);
    snprintf(d->bus, sizeof d->bus, "00000000:%02X:00.0", ndev + 1);
    if (mig && d->parent >= 0 && d->parent < ngpu) memcpy(d->bus, devs[d->parent].bus, sizeof d->bus);
    for (int i = mig ? 2 : 1; i < n; i++) set(d, a[i]);
    ndev++;
    if (!mig) ngpu = ndev;
}

static void load(void)                             /* called with the lock held */
{
    const char *path = getenv("FAKE_NVML_STATE");
    struct stat st;
    if (!path || stat(path, &st)) {
        ngpu = ndev = nproc = nfault = nevent = nvalue = 0;
        loaded_ino = 0;
        return;
    }
    if (strcmp(path, loaded_path)) {               /* another script: its serials start anew */
        snprintf(loaded_path, sizeof loaded_path, "%s", path);
        delivered = 0;
    }
    if (st.st_ino == loaded_ino && !memcmp(&st.st_mtim, &loaded, sizeof loaded)) return;
    FILE *f = fopen(path, "r");
    if (!f) return;
    loaded = st.st_mtim;
    loaded_ino = st.st_ino;
    ngpu = ndev = nproc = nfault = nevent = nvalue = strict = 0;
    snprintf(driver, sizeof driver, "580.82.07");
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        char *save, *w = strtok_r(line, " \t\n", &save);
        char *a[32];
        int n = 0;
        if (!w) continue;
        while (n < 32 && (a[n] = strtok_r(0, " \t\n", &save))) n++;
        if (!strcmp(w, "driver") && n) strict = snprintf(driver, sizeof driver, "%s", a[0]) && n > 1;
        else if ((!strcmp(w, "gpu") || !strcmp(w, "mig")) && n && ndev < MAXDEV)
            add_device(*w == 'm', a, n);
        else if (!strcmp(w, "proc") && n >= 4 && nproc < MAXPROC)
            procs[nproc++] = (Proc){ atoi(a[0]), a[1][0],
                { (u32)atoi(a[2]), strcmp(a[3], "na") ? strtoull(a[3], 0, 0) : ~0ull,
                  n > 4 ? (u32)atoi(a[4]) : NA, n > 5 ? (u32)atoi(a[5]) : n > 4 ? 0 : NA } };
        else if (!strcmp(w, "event") && n >= 4 && nevent < MAXEVENT)
            events[nevent++] = (Happening){ strtoull(a[0], 0, 0), atoi(a[1]),
                                            strtoull(a[2], 0, 0), strtoull(a[3], 0, 0) };
        else if (!strcmp(w, "field") && n >= 3 && nvalue < MAXFIELD)
            values[nvalue++] = (Value){ atoi(a[0]), (u32)atoi(a[1]), strtoull(a[2], 0, 0) };
        else if (nfault < MAXFAULT && ((!strcmp(w, "fault") && n >= 3) ||
                                       (!strcmp(w, "hang") && n >= 2))) {
            Fault *x = &faults[nfault++];
            snprintf(x->fn, sizeof x->fn, "%s", a[0]);
            x->dev = a[1][0] == '*' ? ANY : atoi(a[1]);
            x->code = *w == 'h' ? HANG : atoi(a[2]);
            x->delay_ms = *w != 'h' && n > 3 ? atoi(a[3]) : 0;
        }
    }
    fclose(f);
    if (!*first) snprintf(first, sizeof first, "%s", driver);
}

/* The gate every function passes: fresh state, faults, then the usual checks. */
static int gate(const char *fn, int dev, int needs_init)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        load();
        int code = strict && strcmp(first, driver) ? OTHER : needs_init && !refs, delay_ms = 0;
        for (int i = 0; i < nfault && !code; i++)
            if ((!strcmp(faults[i].fn, "*") || !strcmp(faults[i].fn, fn)) &&
                (faults[i].dev == ANY || faults[i].dev == dev)) {
                code = faults[i].code;
                delay_ms += faults[i].delay_ms;
            }
        pthread_mutex_unlock(&lock);
        if (code != HANG) {
            if (delay_ms) usleep((useconds_t)delay_ms * 1000);
            return code;
        }
        usleep(1000);
    }
}
#define GATE(dev, init) do { int c_ = gate(__func__, dev, init); if (c_) return c_; } while (0)
#define DEV Device *d = h; do { if (!d || d < devs || d >= devs + MAXDEV) return BADARG; \
                                GATE(d->index, 1); } while (0)
#define GIVEN(field) do { if (d->field == UNSET) return UNSUPPORTED; } while (0)
#define WHOLE_GPU do { if (d->parent != WHOLE) return UNSUPPORTED; } while (0)
#define INSTANCE do { if (d->parent == WHOLE) return UNSUPPORTED; } while (0)
static int give(char *out, u32 room, const char *s)
{
    if (strlen(s) >= room) return SMALL;
    strcpy(out, s);
    return OK;
}

/* Library and system. */
API nvmlInitWithFlags(u32 flags) { (void)flags; GATE(NO_DEVICE, 0); refs++; return OK; }
API nvmlShutdown(void)
{
    GATE(NO_DEVICE, 0);
    if (!refs) return UNINIT;
    if (!--refs) memset(sets, 0, sizeof sets);     /* they go with what made them */
    return OK;
}
__attribute__((visibility("default"))) const char *nvmlErrorString(int code)
{ return code ? "fake NVML error" : "Success"; }
API nvmlSystemGetDriverVersion(char *s, u32 n) { GATE(NO_DEVICE, 1); return give(s, n, driver); }

/* Finding devices. */
API nvmlDeviceGetCount_v2(u32 *n) { GATE(NO_DEVICE, 1); *n = (u32)ngpu; return OK; }
API nvmlDeviceGetHandleByIndex_v2(u32 i, Device **out)
{ GATE((int)i, 1); if (i >= (u32)ngpu) return BADARG; *out = &devs[i]; return OK; }
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
API nvmlDeviceGetNumaNodeId(void *h, int *n) { DEV; GIVEN(numa); *n = (int)d->numa; return OK; }
API nvmlDeviceGetPersistenceMode(void *h, u32 *on) { DEV; *on = (u32)d->persistence; return OK; }

/* MIG: a GPU that is split, and its instances. The slots may have gaps. */
API nvmlDeviceGetMigMode(void *h, u32 *now, u32 *next)
{
    DEV; WHOLE_GPU; GIVEN(mig);
    *now = (u32)d->mig;
    *next = (u32)(d->mig_pending == UNSET ? d->mig : d->mig_pending);
    return OK;
}
static int is_split(const Device *d) { return d->mig == 1; }
API nvmlDeviceGetMaxMigDeviceCount(void *h, u32 *n) { DEV; *n = is_split(d) ? 7 : 0; return OK; }
API nvmlDeviceGetMigDeviceHandleByIndex(void *h, u32 slot, Device **out)
{
    DEV;
    if (!is_split(d)) return UNSUPPORTED;
    for (int i = ngpu; i < ndev; i++)
        if (devs[i].parent == d->index && devs[i].slot == (int)slot) { *out = &devs[i]; return OK; }
    return NOT_FOUND;
}
API nvmlDeviceIsMigDeviceHandle(void *h, u32 *yes) { DEV; *yes = d->parent != WHOLE; return OK; }
API nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *h, Device **out)
{ DEV; if (d->parent == WHOLE) return BADARG; *out = &devs[d->parent]; return OK; }
API nvmlDeviceGetGpuInstanceId(void *h, u32 *id)
{ DEV; INSTANCE; GIVEN(gi); *id = (u32)d->gi; return OK; }
API nvmlDeviceGetComputeInstanceId(void *h, u32 *id)
{ DEV; INSTANCE; GIVEN(ci); *id = (u32)d->ci; return OK; }
API nvmlDeviceGetAttributes_v2(void *h, Attributes *a)
{
    DEV; INSTANCE;
    *a = (Attributes){ .sm = d->sm == UNSET ? 14 : (u32)d->sm, .gi_slices = 1, .ci_slices = 1,
                       .memory_mib = d->memory_mib == UNSET ? d->total >> 20 : d->memory_mib };
    return OK;
}

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
        /* A split GPU lists those of all its instances, an instance only its own. */
        if (procs[i].kind == kind && (d->parent == WHOLE ? procs[i].dev == d->index :
            procs[i].dev == d->parent && procs[i].p.gi == d->gi && procs[i].p.ci == d->ci)) {
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

/* Health: of whole GPUs. */
#define TELL(name, type, field) \
    API name(void *h, type *out) { DEV; WHOLE_GPU; GIVEN(field); *out = (type)d->field; return OK; }
API nvmlDeviceGetUtilizationRates(void *h, Utilization *u)
{
    DEV; WHOLE_GPU;
    *u = (Utilization){ (u32)d->util, (u32)d->memutil };
    return is_split(d) ? UNSUPPORTED : OK;
}
API nvmlDeviceGetTemperature(void *h, int sensor, u32 *t)
{ DEV; WHOLE_GPU; (void)sensor; *t = (u32)d->temp; return OK; }
API nvmlDeviceGetTemperatureV(void *h, Temperature *t)
{ DEV; WHOLE_GPU; t->celsius = (int)d->temp; return OK; }
TELL(nvmlDeviceGetPowerUsage, u32, power_mw)
TELL(nvmlDeviceGetEnforcedPowerLimit, u32, limit_mw)
TELL(nvmlDeviceGetTotalEnergyConsumption, u64, energy_mj)
TELL(nvmlDeviceGetCurrentClocksEventReasons, u64, reasons)
TELL(nvmlDeviceGetCurrentClocksThrottleReasons, u64, reasons)
TELL(nvmlDeviceGetCurrPcieLinkGeneration, u32, pcie_gen)
TELL(nvmlDeviceGetCurrPcieLinkWidth, u32, pcie_width)
API nvmlDeviceGetClockInfo(void *h, int type, u32 *mhz)            /* 1: SM, 2: memory */
{
    DEV; WHOLE_GPU;
    u64 found = type == 2 ? d->mem_clock : type < 2 ? d->clock : UNSET;
    *mhz = (u32)found;
    return found == UNSET ? UNSUPPORTED : OK;
}
API nvmlDeviceGetTotalEccErrors(void *h, int uncorrected, int aggregate, u64 *n)
{
    DEV; WHOLE_GPU;
    u64 found = uncorrected ? d->ecc_uncorrected : d->ecc_corrected;
    *n = found + (aggregate ? 1000 : 0);           /* the card's life is longer than the driver's */
    return found == UNSET ? UNSUPPORTED : OK;
}
API nvmlDeviceGetFieldValues(void *h, int n, Field *f)
{
    DEV;
    for (int i = 0; i < n; i++) {
        f[i].ret = UNSUPPORTED;
        for (int k = 0; k < nvalue; k++)
            if (values[k].dev == d->index && values[k].id == f[i].field) {
                f[i].ret = OK;
                f[i].type = values[k].value > NA ? 3 : 1;          /* unsigned: long long or int */
                f[i].value = values[k].value;
            }
    }
    return OK;
}

/* Events. A set that was freed, or made before a shutdown, is refused. */
#define SET do { if (set < sets || set >= sets + MAXSET || !set->live) return BADARG; } while (0)
API nvmlEventSetCreate(EventSet **out)
{
    GATE(NO_DEVICE, 1);
    for (*out = sets; *out < sets + MAXSET; ++*out)
        if (!(*out)->live) { **out = (EventSet){ .live = 1, .seen = delivered }; return OK; }
    return SMALL;
}
API nvmlEventSetFree(EventSet *set) { GATE(NO_DEVICE, 1); SET; set->live = 0; return OK; }
API nvmlDeviceGetSupportedEventTypes(void *h, u64 *types) { DEV; *types = d->events; return OK; }
API nvmlDeviceRegisterEvents(void *h, u64 types, EventSet *set)
{ DEV; SET; if (types & ~d->events) return UNSUPPORTED; set->mask[d->index] |= types; return OK; }
API nvmlEventSetWait_v2(EventSet *set, Event *e, u32 timeout_ms)
{
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (;;) {
        GATE(NO_DEVICE, 1);
        SET;
        pthread_mutex_lock(&lock);
        for (int i = 0; i < nevent; i++) {
            Happening *x = &events[i];
            if (x->serial <= set->seen || x->dev < 0 || x->dev >= ngpu) continue;
            if (!(set->mask[x->dev] & x->type)) continue;
            set->seen = x->serial;
            if (delivered < x->serial) delivered = x->serial;
            *e = (Event){ &devs[x->dev], x->type, x->data, NA, NA };
            pthread_mutex_unlock(&lock);
            return OK;
        }
        pthread_mutex_unlock(&lock);
        /* On a busy machine a turn takes longer than its nap. */
        clock_gettime(CLOCK_MONOTONIC, &now);
        long waited = (now.tv_sec - began.tv_sec) * 1000L + (now.tv_nsec - began.tv_nsec) / 1000000L;
        if (waited >= (long)timeout_ms) return TIMEOUT;
        usleep(2000);
    }
}
