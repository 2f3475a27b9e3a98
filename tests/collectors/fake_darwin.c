/* The calls of macOS that collectors/darwin.py makes, for a Mac with 64 GiB. Whoever calls them
 * with another signature than macOS has gets an error, or a wrong number. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { HOST = 0x1603, KERN_FAILURE = 5 };

EXPORT uint32_t fake_words = 38;   /* that the kernel's structure has */
EXPORT int fake_failing = 0;       /* every call fails */
EXPORT int fake_ports = 0;         /* references made to the host's port */
EXPORT int fake_devices = 0;       /* made by Metal */
EXPORT bool fake_knows = true;     /* does the device understand the message? */

EXPORT uint32_t mach_host_self(void) {
    fake_ports++;
    return HOST;
}

EXPORT int host_statistics64(uint32_t host, int flavor, int32_t *out, uint32_t *count) {
    struct __attribute__((packed)) {
        uint32_t free, active, inactive, wired;
        uint64_t zero_filled, reactivated, pageins, pageouts, faults, copies, lookups, hits, purges;
        uint32_t purgeable, speculative;
        uint64_t decompressed, compressed, swapins, swapouts;
        uint32_t compressor, throttled, external, internal;
        uint64_t uncompressed;
    } vm = {.free = 1, .active = 1000, .inactive = 2000, .wired = 300, .purgeable = 40,
            .speculative = 50, .swapins = 7, .swapouts = 8, .compressor = 600, .throttled = 9,
            .external = 700, .internal = 2350, .uncompressed = 1800};
    if (host != HOST || flavor != 4 || *count * 4 < sizeof vm)
        return KERN_FAILURE;
    memcpy(out, &vm, fake_words * 4 < sizeof vm ? fake_words * 4 : sizeof vm);
    *count = fake_words;
    return fake_failing ? KERN_FAILURE : 0; /* what was written then means nothing */
}

EXPORT int sysctlbyname(const char *name, void *old, size_t *size, void *set, size_t set_size) {
    static const uint64_t memsize = 64ull << 30, swap[4] = {2 << 20, 1 << 20, 1 << 20, 16384};
    static const int32_t level = 2;
    const void *value;
    size_t length;
    if (!strcmp(name, "hw.memsize"))
        value = &memsize, length = sizeof memsize;
    else if (!strcmp(name, "vm.swapusage"))
        value = swap, length = sizeof swap;
    else if (!strcmp(name, "kern.memorystatus_vm_pressure_level"))
        value = &level, length = sizeof level;
    else if (!strcmp(name, "machdep.cpu.brand_string"))
        value = "Apple M2 Max", length = sizeof "Apple M2 Max";
    else
        return -1;
    if (set != NULL || set_size != 0 || *size < length)
        return -1;
    memcpy(old, value, length);
    *size = length;
    return fake_failing ? -1 : 0;
}

EXPORT int proc_pid_rusage(int pid, int flavor, void *out) {
    if (flavor < 0 || flavor > 6)
        return -1;
    memset(out, 0xff, flavor == 0 ? 96 : 464);
    *(uint64_t *)((char *)out + 72) = 24ull << 30;
    return fake_failing || pid != 42 ? -1 : 0;
}

static int device, class, selector;

EXPORT void *MTLCreateSystemDefaultDevice(void) {
    fake_devices++;
    return fake_failing ? NULL : &device;
}

EXPORT void *sel_registerName(const char *name) {
    return strcmp(name, "recommendedMaxWorkingSetSize") ? NULL : &selector;
}

EXPORT void *object_getClass(void *object) { return object == &device ? &class : NULL; }

EXPORT bool class_respondsToSelector(void *of, void *message) {
    return fake_knows && of == &class && message == &selector;
}

EXPORT uint64_t objc_msgSend(void *object, void *message) {
    return object == &device && message == &selector ? 48ull << 30 : 1;
}
