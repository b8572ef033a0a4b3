/* Connections: opening them, the loop that drives them, and what is done when one fails. */
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPENING_WINDOW 64 /* connections opened at once: never more than any peer's backlog */
#define OPENING_LIMIT 30  /* seconds until all connections must be open */
#define DRAIN_LIMIT 5     /* seconds for the replies that are due when the clock has stopped */
#define EVENTS 512

Phase phase = OPENING;
bool measuring, holding;
Connection *all;
int alive, replies_due;
uint64_t messages, failures;
char first_error[256];
unsigned char read_buffer[READ_SIZE];

static int loop_fd, opened;
static Connection **outbox; /* messages begun and not yet sent */
static int outbox_length;

/* ---- failures -------------------------------------------------------------------------------- */

_Noreturn void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

static void spoil_with(const char *format, va_list args) {
    failures++;
    if (!first_error[0]) vsnprintf(first_error, sizeof first_error, format, args);
}

void spoil(const char *format, ...) {
    va_list args;
    va_start(args, format);
    spoil_with(format, args);
    va_end(args);
}

/* A failed connection is not replaced: the run is spoilt and says so, there is nothing to save. */
void fail(Connection *c, const char *format, ...) {
    char named[128];
    snprintf(named, sizeof named, "connection %d, message %u: %s", (int)(c - all), c->serial, format);
    va_list args;
    va_start(args, format);
    spoil_with(named, args);
    va_end(args);
    close_connection(c, false);
    if (c->due) replies_due--;
    c->due = false;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void push(Connection *c) {
    while (c->sent < opt.size) {
        ssize_t n = send_some(c, c->message + c->sent, opt.size - c->sent);
        if (n > 0) c->sent += (size_t)n;
        else if (n == 0) { fail(c, "closed by the server during the handshake"); return; } /* TLS alone can say so here */
        else if (errno == EAGAIN) return; /* also while the connection is being made */
        else if (errno != EINTR) { fail(c, "send: %s", why()); return; }
    }
}

/* All that a turn of the loop has begun goes out together: then the server has a queue to work on,
 * and is not woken from its sleep, which costs this side dearly, for one message after the other. */
void send_soon(Connection *c) {
    c->queued = true;
    outbox[outbox_length++] = c;
}

static void send_begun(void) {
    for (int i = 0; i < outbox_length; i++) {
        Connection *c = outbox[i];
        c->queued = false;
        if (c->fd < 0) continue;
        if (opt.mode != CHURN) c->began = now();
        push(c);
    }
    outbox_length = 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

void open_connection(Connection *c) {
    static unsigned next_source;
    int on = 1;
    c->began = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) { fail(c, "socket: %s", strerror(errno)); return; }
    alive++;
    if (opt.sources > 0) {
        /* A closed connection keeps its port for a minute (TIME_WAIT), and one source address has
         * 28,000 of them.  With IP_BIND_ADDRESS_NO_PORT the port is chosen at connect, when the
         * whole four-tuple is known, and each source address has its own 28,000. */
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + next_source++ % (unsigned)opt.sources);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (struct sockaddr *)&source, sizeof source) != 0) { fail(c, "bind: %s", strerror(errno)); return; }
    }
    if (opt.mode != CHURN || opt.certificate != NULL) /* a single send on a new connection goes out at once anyway */
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&opt.server, sizeof opt.server) != 0 && errno != EINPROGRESS) {
        fail(c, "connect: %s", strerror(errno));
        return;
    }
    /* Edge-triggered and for both directions, once: no epoll_ctl for a partial write. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) { fail(c, "epoll_ctl: %s", strerror(errno)); return; }
    if (opt.certificate != NULL) start_tls(c);
    if (opt.mode == BROADCAST) await_greeting(c);
    else begin_message(c); /* over loopback the handshake is usually done by now */
}

void close_connection(Connection *c, bool politely) {
    if (c->tls != NULL) end_tls(c, politely);
    if (c->fd >= 0) close(c->fd), alive--; /* an ordinary close: FIN, as a real client's, not a reset */
    c->fd = -1;
}

void open_next(void) {
    if (opened < opt.connections) open_connection(&all[opened++]);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* One message after the other: all modes until their connections are open, and most of them ever after. */
static void serve_in_turns(Connection *c, uint32_t what) {
    /* An event may be older than the connection that took its predecessor's place: it only
     * says "try", and what recv and send answer is what counts. */
    if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        if (opt.mode == BROADCAST) receive_broadcast(c, c->ending);
        else receive_reply(c, c->ending);
    }
    if (c->fd >= 0 && c->due && !c->queued && c->sent < opt.size) push(c);
}

void (*serve)(Connection *c, uint32_t what) = serve_in_turns;

/* The number of events. */
int turn(int timeout_ms) {
    struct epoll_event events[EVENTS];
    send_begun();
    int count = epoll_wait(loop_fd, events, EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        uint32_t what = events[i].events;
        if (c == NULL) { /* standard input: who holds is told to let go */
            char byte;
            if (read(STDIN_FILENO, &byte, 1) <= 0) holding = false;
            continue;
        }
        if (c->fd < 0) continue;
        if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
            c->drained = false;
            c->ending = what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        }
        serve(c, what);
    }
    return count < 0 ? 0 : count;
}

void run_for(double seconds) {
    uint64_t t = now(), end = t + (uint64_t)(seconds * (double)SECOND);
    for (; t < end && alive > 0; t = now()) turn((int)((end - t) / 1000000) + 1);
}

/* Opens the connections, a window at a time, and waits until each has had one reply. */
void open_all(void) {
    uint64_t limit = now() + OPENING_LIMIT * SECOND;
    for (int i = 0; i < OPENING_WINDOW; i++) open_next();
    while ((opened < opt.connections || replies_due > 0) && failures == 0 && now() < limit) turn(100);
    for (int i = 0; i < opt.connections && failures == 0; i++)
        if (i >= opened || all[i].due) fail(&all[i], "not open after %d s", OPENING_LIMIT);
}

/* Every message that was sent must have had its reply, also the last ones. */
void drain(void) {
    uint64_t limit = now() + DRAIN_LIMIT * SECOND;
    phase = DRAINING;
    while (replies_due > 0 && now() < limit) turn(100);
    for (int i = 0; i < opt.connections; i++)
        if (all[i].due) fail(&all[i], "no reply within %d s, %zu of %zu bytes read", DRAIN_LIMIT, all[i].got, opt.size);
}

/* To whoever started this, and who says when it is enough by closing its standard input. */
void say_ready(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) die("standard input must be a pipe or a terminal");
    holding = true;
    printf("ready\n");
    fflush(stdout);
}

void hold(void) {
    say_ready();
    while (holding && failures == 0) turn(-1); /* a connection that closes meanwhile is a failure */
}

void prepare_connections(void) {
    all = calloc((size_t)opt.connections, sizeof *all);
    outbox = calloc((size_t)opt.connections, sizeof *outbox);
    loop_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < opt.connections; i++) all[i].fd = -1;
}
