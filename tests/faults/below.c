/*
 * What is below the daemon: its wall clock and its disk, as a test says. For LD_PRELOAD.
 *
 *   cc -O2 -fPIC -shared -o below.so below.c -ldl
 *
 * $BELOW_STATE is a file of three 64-bit numbers that may change at any time: nanoseconds by which
 * the wall clock is ahead, nanoseconds that each write to a disk takes, and the errno that it ends
 * with (0: none). The disk is what lies in the folder $BELOW_FOLDER, and every pwrite, which here
 * is SQLite's alone. Monotonic clocks, sockets and pipes are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL

struct state { volatile int64_t ahead, stall, error; };

static struct state none, *state = &none;
static const char *folder;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BELOW_STATE");
    int file = path ? REAL(open)(path, O_RDONLY | O_CLOEXEC) : -1;
    folder = getenv("BELOW_FOLDER");
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof(struct state), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        state = found;
    close(file);
}

/* ---- the clock */

int clock_gettime(clockid_t clock, struct timespec *out) {
    static __typeof__(&clock_gettime) next;
    if (!next)
        next = REAL(clock_gettime);
    int code = next(clock, out);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t at = out->tv_sec * BILLION + out->tv_nsec + state->ahead;
        out->tv_sec = at / BILLION;
        out->tv_nsec = at % BILLION;
    }
    return code;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* ---- the disk */

static int fails(int is_write) {
    int64_t stall = state->stall;
    if (stall > 0) {
        struct timespec rest = {stall / BILLION, stall % BILLION};
        nanosleep(&rest, NULL);
    }
    if (state->error == 0 || (!is_write && state->error == ENOSPC))
        return 0;
    errno = (int)state->error;
    return 1;
}

static int is_here(const char *path) {
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int may_open(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    return !(state->error == EROFS && writes && is_here(path) && fails(0));
}

#define OPEN(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                  \
        va_end(rest);                                                                              \
        return may_open(path, flags) ? REAL(name)(path, flags, mode) : -1;                         \
    }
OPEN(open)
OPEN(open64)

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    return fails(1) ? -1 : REAL(pwrite64)(file, data, size, at);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    return fails(1) ? -1 : REAL(pwrite)(file, data, size, at);
}
int ftruncate64(int file, off64_t size) { return fails(1) ? -1 : REAL(ftruncate64)(file, size); }
int fsync(int file) { return fails(0) && state->error != EROFS ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails(0) && state->error != EROFS ? -1 : REAL(fdatasync)(file); }
int unlink(const char *path) { return is_here(path) && fails(0) ? -1 : REAL(unlink)(path); }
int rename(const char *from, const char *to) {
    return is_here(to) && fails(0) ? -1 : REAL(rename)(from, to);
}
int mkdir(const char *path, mode_t mode) {
    return is_here(path) && fails(0) ? -1 : REAL(mkdir)(path, mode);
}
