/* Faults that a kernel may produce at any time, produced on purpose: loaded with LD_PRELOAD, it
 * stands between a program and the C library.
 *
 *   FAULTS=eintr   every second call of a kind fails with EINTR, as if a signal had come. `connect`
 *                  and `close` have done their work by then, as in the kernel: a handshake goes
 *                  on, a descriptor is gone.
 *   FAULTS=short   send and recv do half of what they were asked to.
 *   FAULTS=long    accept4, getsockname and getpeername say that the address had 4096 bytes, as the
 *                  kernel would of one that is longer than the room for it.
 *   FAULTS_LOG     a file; at exit one line is appended for each kind that was hit: kind, count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind { SEND, RECV, ACCEPT4, POLL, CONNECT, CLOSE, GETSOCKNAME, GETPEERNAME, KINDS };
static const char *const names[KINDS] = {"send",    "recv",  "accept4",     "poll",
                                         "connect", "close", "getsockname", "getpeername"};
static int hits[KINDS];
static int eintr, shorten, lengthen;

/* Each thread counts for itself, so that a run repeats whatever the scheduling. */
static __thread unsigned calls[KINDS];

__attribute__((constructor)) static void read_faults(void) {
    const char *faults = getenv("FAULTS");
    eintr = faults && strstr(faults, "eintr");
    shorten = faults && strstr(faults, "short");
    lengthen = faults && strstr(faults, "long");
}

__attribute__((destructor)) static void write_log(void) {
    const char *path = getenv("FAULTS_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    for (int kind = 0; log && kind < KINDS; kind++)
        if (hits[kind])
            fprintf(log, "%s %d\n", names[kind], hits[kind]);
    if (log)
        fclose(log);
}

static int hit(enum kind kind) {
    __atomic_add_fetch(&hits[kind], 1, __ATOMIC_RELAXED);
    return 1;
}

/* Whether this call is to fail with EINTR: the first of its kind, the third, the fifth ... */
static int interrupted(enum kind kind) {
    if (!eintr || calls[kind]++ % 2 || !hit(kind))
        return 0;
    errno = EINTR;
    return 1;
}

static size_t shortened(enum kind kind, size_t len) {
    return shorten && len > 1 && hit(kind) ? len / 2 : len;
}

/* What a call returns that has filled in an address, and its length. */
static int lengthened(enum kind kind, int rc, socklen_t *len) {
    if (lengthen && rc >= 0 && len && hit(kind))
        *len = 4096;
    return rc;
}

/* The C library's own function of the same name. */
#define REAL(result, name, ...)                                                                    \
    static result (*real)(__VA_ARGS__);                                                            \
    if (!real)                                                                                     \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t send(int fd, const void *buf, size_t len, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    return interrupted(SEND) ? -1 : real(fd, buf, shortened(SEND, len), flags);
}

ssize_t recv(int fd, void *buf, size_t len, int flags) {
    REAL(ssize_t, recv, int, void *, size_t, int);
    return interrupted(RECV) ? -1 : real(fd, buf, shortened(RECV, len), flags);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags) {
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    return interrupted(ACCEPT4) ? -1 : lengthened(ACCEPT4, real(fd, addr, len, flags), len);
}

int getsockname(int fd, struct sockaddr *addr, socklen_t *len) {
    REAL(int, getsockname, int, struct sockaddr *, socklen_t *);
    return lengthened(GETSOCKNAME, real(fd, addr, len), len);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len) {
    REAL(int, getpeername, int, struct sockaddr *, socklen_t *);
    return lengthened(GETPEERNAME, real(fd, addr, len), len);
}

int poll(struct pollfd *fds, nfds_t count, int timeout) {
    REAL(int, poll, struct pollfd *, nfds_t, int);
    return interrupted(POLL) ? -1 : real(fds, count, timeout);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len) {
    REAL(int, connect, int, const struct sockaddr *, socklen_t);
    int rc = real(fd, addr, len);
    return rc == 0 && interrupted(CONNECT) ? -1 : rc;
}

int close(int fd) {
    REAL(int, close, int);
    int rc = real(fd);
    return rc == 0 && interrupted(CLOSE) ? -1 : rc;
}
