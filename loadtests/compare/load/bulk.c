/* Bulk, one way or the other, and a receiving end that costs next to nothing, for proxies. */
#include "load.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define FILE_SIZE (4 << 20)
#define PATIENCE 10 /* seconds without any progress */

/* What is sent lies in a file in memory: sendfile lends its pages to the socket, where send would
 * copy them, and the client is not what is measured. */
static int file_to_send(void) {
    static int file = -1;
    if (file >= 0) return file;
    file = memfd_create("bulk", MFD_CLOEXEC);
    unsigned char *bytes = malloc(FILE_SIZE);
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < FILE_SIZE; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        bytes[i] = (unsigned char)x;
    }
    if (file < 0 || write(file, bytes, FILE_SIZE) != FILE_SIZE) die("a file in memory: %s", strerror(errno));
    free(bytes);
    return file;
}

static int dial(void) {
    struct timeval patience = {.tv_sec = PATIENCE};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&opt.server, sizeof opt.server) != 0) die("connect: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* Sends so many bytes and FIN; the server answers with their number, in eight bytes, and FIN. */
void transfer(uint64_t bytes) {
    int file = file_to_send(), fd = dial();
    uint64_t sent = 0, count = 0;
    while (sent < bytes) {
        off_t from = (off_t)(sent % FILE_SIZE);
        uint64_t most = FILE_SIZE - (uint64_t)from, left = bytes - sent;
        ssize_t n = sendfile(fd, file, &from, left < most ? left : most);
        if (n < 0 && errno != EINTR) { spoil("byte %ju: send: %s", (uintmax_t)sent, strerror(errno)); break; }
        if (n > 0) sent += (uint64_t)n;
    }
    shutdown(fd, SHUT_WR);
    if (sent == bytes && recv(fd, &count, sizeof count, MSG_WAITALL) != sizeof count) spoil("no count came back");
    else if (be64toh(count) != sent) spoil("%ju bytes were sent, %ju counted", (uintmax_t)sent, (uintmax_t)be64toh(count));
    else if (recv(fd, &count, 1, 0) != 0) spoil("more than the count came back, or no end");
    close(fd);
    if (measuring) messages += sent >> 20;
}

/* Asks for so many bytes, in eight of its own, and counts what comes until FIN.  They are counted by the kernel
 * alone (MSG_TRUNC): the client does not copy them, and is not what is measured. */
void download(uint64_t bytes) {
    int fd = dial();
    uint64_t came = 0, wanted = htobe64(bytes);
    if (send(fd, &wanted, sizeof wanted, MSG_NOSIGNAL) != sizeof wanted) die("send: %s", strerror(errno));
    while (came <= bytes) {
        ssize_t n = recv(fd, NULL, 1 << 20, MSG_TRUNC);
        if (n == 0) break;
        if (n < 0 && errno != EINTR) { spoil("byte %ju: receive: %s", (uintmax_t)came, strerror(errno)); break; }
        if (n > 0) came += (uint64_t)n;
    }
    if (came > bytes) spoil("more than the %ju bytes that were asked for came", (uintmax_t)bytes);
    else if (came < bytes) spoil("%ju bytes were asked for, %ju came", (uintmax_t)bytes, (uintmax_t)came);
    close(fd);
    if (measuring) messages += came >> 20;
}

/* One connection after the other; their bytes are counted by the kernel alone (MSG_TRUNC). */
void serve_as_sink(void) {
    int listener = start_listening(0);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        uint64_t count = 0;
        for (ssize_t n; (n = recv(fd, NULL, 1 << 20, MSG_TRUNC)) > 0;) count += (uint64_t)n;
        count = htobe64(count);
        if (send(fd, &count, sizeof count, MSG_NOSIGNAL) != sizeof count) fprintf(stderr, "load: the sink's client is gone\n");
        close(fd);
    }
}
