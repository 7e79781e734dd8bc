/* For LD_PRELOAD: a disk that fails for one file. For a path that ends with $FAILING_PATH, read() fails with EIO, and
 * flock() with ENOLCK, as on NFS without a lock daemon. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int descriptor) {
    char link[64], path[4096];
    const char *wanted = getenv("FAILING_PATH");
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!wanted || length < (ssize_t)strlen(wanted)) return 0;
    path[length] = 0;
    return strcmp(path + length - strlen(wanted), wanted) == 0;
}

ssize_t read(int descriptor, void *buffer, size_t count) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    if (fails(descriptor)) { errno = EIO; return -1; }
    return real(descriptor, buffer, count);
}

int flock(int descriptor, int operation) {
    static int (*real)(int, int);
    if (!real) real = dlsym(RTLD_NEXT, "flock");
    if (fails(descriptor)) { errno = ENOLCK; return -1; }
    return real(descriptor, operation);
}
