/* Beside libfaketime: sleeping goes to the kernel. libfaketime 0.9.10 with FAKETIME_DONT_FAKE_MONOTONIC answers EINVAL to a
   sleep until a monotonic time, which is what every time.sleep of Python is. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    int before = errno;
    long failed = syscall(SYS_clock_nanosleep, clock, flags, wanted, left);
    int why = errno;
    errno = before;
    return failed ? why : 0;
}
