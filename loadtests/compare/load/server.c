/* A server that only echoes: the ceiling, and what servers need to listen.
 *
 * One thread, one receive and one send for what came together, no checks.  No server that does the same
 * through this kernel, with this client, can be much faster: what a peer's figure lacks to this one is its
 * own work, and where nothing is lacking the client, or the kernel, was what was measured. */
#include "load.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS 512

typedef struct {
    int fd;
    unsigned char *kept; /* what the kernel did not take; until it is out nothing more is read */
    size_t from, to;
} Client;

static int loop_fd;

/* Says where, as every server does that the bench starts. */
int start_listening(int flags) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    socklen_t length = sizeof opt.server;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&opt.server, length) != 0 || listen(listener, BACKLOG) != 0)
        die("listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&opt.server, &length);
    printf("listening %d\n", ntohs(opt.server.sin_port));
    fflush(stdout);
    return listener;
}

static void watch(Client *c, int operation, uint32_t what) {
    struct epoll_event event = {.events = what, .data.ptr = c};
    if (epoll_ctl(loop_fd, operation, c->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static void let_go(Client *c) {
    close(c->fd);
    free(c->kept);
    free(c);
}

static void let_in(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int on = 1;
        Client *c = calloc(1, sizeof *c);
        if (c == NULL) die("no memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept: %s", strerror(errno));
}

/* How much of it the kernel took; -1 when the client is gone, and let go. */
static ssize_t give(Client *c, const unsigned char *data, size_t length) {
    ssize_t n = send(c->fd, data, length, MSG_NOSIGNAL);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EINTR) return 0;
    let_go(c);
    return -1;
}

static void echo(Client *c) {
    ssize_t n = recv(c->fd, read_buffer, READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { let_go(c); return; }
    ssize_t sent = give(c, read_buffer, (size_t)n);
    if (sent < 0 || sent == n) return;
    if (c->kept == NULL && (c->kept = malloc(READ_SIZE)) == NULL) die("no memory");
    c->from = 0, c->to = (size_t)(n - sent);
    memcpy(c->kept, read_buffer + sent, c->to);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void give_kept(Client *c) {
    ssize_t sent = give(c, c->kept + c->from, c->to - c->from);
    if (sent < 0) return;
    c->from += (size_t)sent;
    if (c->from == c->to) watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

_Noreturn void serve_echo(void) {
    int listener = start_listening(SOCK_NONBLOCK);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    loop_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, listener, &event) != 0) die("epoll_ctl: %s", strerror(errno));
    for (;;) {
        int count = epoll_wait(loop_fd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            Client *c = events[i].data.ptr;
            if (c == NULL) let_in(listener);
            else if (events[i].events & EPOLLOUT) give_kept(c);
            else if (c->to > c->from) let_go(c); /* an error, with nobody to send the rest to */
            else echo(c);
        }
    }
}
