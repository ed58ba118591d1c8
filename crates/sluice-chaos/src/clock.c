/* A wall clock that can be wrong, for a program that is started with this library before all others (LD_PRELOAD).
 *
 * The file that SLUICE_CHAOS_CLOCK names holds one 64-bit number: the seconds that the clock is wrong by. It is
 * looked at with every question for the time, so that the clock jumps when the number changes. Clocks that never
 * jump are left alone. A wait until a time of the wall clock ends when it was meant to: librdkafka waits so, and
 * would otherwise sleep for hours, which is no fault that a clock can make.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *wrong_by;
static int (*real_cnd_timedwait)(cnd_t *, mtx_t *, const struct timespec *);

__attribute__((constructor)) static void open_clock(void) {
    real_cnd_timedwait = dlsym(RTLD_NEXT, "cnd_timedwait");
    const char *path = getenv("SLUICE_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) wrong_by = page;
}

static int64_t error_seconds(void) { return wrong_by ? *wrong_by : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += error_seconds();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *result) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
    struct timespec meant = *until;
    meant.tv_sec -= error_seconds();
    return real_cnd_timedwait(condition, mutex, &meant);
}
