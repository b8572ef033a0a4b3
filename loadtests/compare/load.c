/*
 * A load client for echo servers: one thread, epoll, no allocation after the start.
 *
 *   load MODE HOST PORT [--connections N] [--size BYTES] [--seconds S] [--warmup S]
 *                       [--sources N] [--server-pid PID]
 *
 *   echo   every connection sends a message, waits for the whole reply, and repeats: messages/s
 *   churn  every connection connects, sends one message, reads its reply and closes; the next one
 *          takes its place: connections/s
 *   idle   opens the connections, one message on each, prints "ready" and holds them until its
 *          standard input closes
 *
 * HOST is a numeric IPv4 address.  The result is one line of JSON on standard output.  The exit
 * status is 0 when every reply was right, 1 when one was not, 2 for a usage or system error.
 *
 * Every byte of a reply up to 64 KiB is compared with what was sent.  Of a larger one, every byte is
 * counted but, while the clock runs, only a slice of 32 KiB is compared, a different one each time:
 * copying and comparing all of it costs more than any server's echo, and the client would be what is
 * measured.  Before and after the clock runs, all of it is compared.
 *
 * The work per message is one send and one receive, so that the client costs less than the servers
 * that it measures.  It says how busy it was (client_cpu) and, given the server's pid, how busy the
 * server was over the very same window (server_cpu): the reader can see which of the two was the limit.
 * client_waited and server_waited are the shares of the window in which they could have run but
 * something else had their core: on a quiet machine nearly nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define OPENING_WINDOW 64      /* connections opened at once: never more than any peer's backlog */
#define OPENING_LIMIT 30       /* seconds until all connections must be open */
#define DRAIN_LIMIT 5          /* seconds for the replies that are due when the clock has stopped */
#define EVENTS 512
#define READ_SIZE (256 * 1024) /* larger than most replies: a short read says "drained" and saves a call */
#define COMPARED_WHOLE (64 * 1024)
#define SLICE (32 * 1024)

typedef enum { ECHO, CHURN, IDLE } Mode;
typedef enum { OPENING, RUNNING, DRAINING } Phase;

typedef struct {
    int fd;                       /* -1: not open */
    uint32_t serial;              /* messages begun; picks the next message's bytes */
    bool due;                     /* a reply is expected */
    bool queued;                  /* in the outbox */
    size_t sent, got;             /* bytes of the message sent, bytes of its reply read */
    size_t from, to;              /* the slice of the reply that is compared */
    const unsigned char *message; /* a window into the table of random bytes */
    uint64_t began;
} Connection;

static struct {
    Mode mode;
    struct sockaddr_in server;
    int connections, sources;
    size_t size;
    double seconds, warmup;
    pid_t server_pid;
} opt = {.connections = 64, .size = 64, .seconds = 3, .warmup = 1};

static Phase phase = OPENING;
static bool measuring, holding;
static int loop_fd, opened, alive, replies_due;
static Connection *all;
static Connection **outbox; /* messages begun and not yet sent */
static int outbox_length;
static unsigned char read_buffer[READ_SIZE];

static uint64_t messages, failures;
static char first_error[256];

/* ---- time, and the latency histogram --------------------------------------------------------- */

static uint64_t nanoseconds(const struct timespec *t) { return (uint64_t)t->tv_sec * SECOND + (uint64_t)t->tv_nsec; }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return nanoseconds(&t);
}

/* Log-linear: STEPS buckets per doubling, so that any latency is known to better than 1 %. */
#define STEPS 128
#define STEPS_LOG2 7
static uint64_t histogram[STEPS * 58];

static void record(uint64_t ns) {
    unsigned shift = ns < STEPS ? 0 : (unsigned)(63 - __builtin_clzll(ns)) - STEPS_LOG2;
    histogram[ns < STEPS ? ns : (shift + 1) * STEPS + (ns >> shift) - STEPS]++;
}

static double percentile_us(double share) {
    uint64_t rank = (uint64_t)(share * (double)messages), seen = 0;
    for (size_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > rank) {
            if (i < STEPS) return (double)i / 1000;
            unsigned shift = (unsigned)(i / STEPS) - 1;
            return ((double)(i % STEPS) + STEPS + 0.5) * (double)(1ull << shift) / 1000;
        }
    }
    return 0;
}

/* ---- CPU clocks ------------------------------------------------------------------------------ */

typedef struct {
    uint64_t at, client, server;              /* when; CPU time used until then */
    uint64_t client_waited, server_waited;    /* time spent runnable without a core */
} Clocks;

static uint64_t cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return nanoseconds(&t); /* all threads, user and system: getrusage's figure, finer, and for others too */
}

static uint64_t waited_by(pid_t pid) { /* the main thread: each peer serves in it */
    char path[64];
    unsigned long long ran, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0; /* a kernel without CONFIG_SCHED_INFO */
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2) waited = 0;
    fclose(file);
    return waited;
}

static Clocks read_clocks(void) {
    Clocks c = {.at = now(), .client = cpu_of(getpid()), .client_waited = waited_by(getpid())};
    if (opt.server_pid) c.server = cpu_of(opt.server_pid), c.server_waited = waited_by(opt.server_pid);
    return c;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* A message is a window into one table of random bytes, at a place that depends on the connection
 * and on the message's number.  So a reply that belongs to another connection, or to the message
 * before, is found out, and neither making nor checking a message costs a copy. */
#define PLACES 8191
static unsigned char *table;

static void fill_table(void) {
    size_t length = PLACES + opt.size;
    table = malloc(length);
    uint64_t x = 88172645463325252ull; /* xorshift: the same bytes for every peer */
    for (size_t i = 0; i < length; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        table[i] = (unsigned char)(x >> 32);
    }
}

static const unsigned char *message_of(const Connection *c) {
    return table + ((uint64_t)(c - all) * 613 + (uint64_t)c->serial * 31) % PLACES;
}

/* ---- failures -------------------------------------------------------------------------------- */

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(2);
}

/* A failed connection is not replaced: the run is spoilt and says so, there is nothing to save. */
static void fail(Connection *c, const char *format, ...) {
    failures++;
    if (!first_error[0]) {
        int n = snprintf(first_error, sizeof first_error, "connection %d, message %u: ", (int)(c - all), c->serial);
        va_list args;
        va_start(args, format);
        vsnprintf(first_error + n, sizeof first_error - (size_t)n, format, args);
        va_end(args);
    }
    if (c->fd >= 0) close(c->fd), alive--;
    c->fd = -1;
    if (c->due) replies_due--;
    c->due = false;
}

/* ---- one connection -------------------------------------------------------------------------- */

static void push(Connection *c) {
    while (c->sent < opt.size) {
        ssize_t n = send(c->fd, c->message + c->sent, opt.size - c->sent, MSG_NOSIGNAL);
        if (n >= 0) c->sent += (size_t)n;
        else if (errno == EAGAIN) return; /* also while the connection is being made */
        else if (errno != EINTR) { fail(c, "send: %s", strerror(errno)); return; }
    }
}

static void begin_message(Connection *c) {
    c->serial++;
    c->message = message_of(c);
    c->sent = c->got = c->from = 0;
    c->to = opt.size;
    if (measuring && opt.size > COMPARED_WHOLE) {
        size_t slices = (opt.size + SLICE - 1) / SLICE;
        c->from = c->serial % slices * SLICE;
        c->to = c->from + SLICE < opt.size ? c->from + SLICE : opt.size;
    }
    c->due = true;
    replies_due++;
    c->queued = true;
    outbox[outbox_length++] = c;
}

/* All that a turn of the loop has begun goes out together: then the server has a queue to work on,
 * and is not woken from its sleep, which costs this side dearly, for one message after the other. */
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

static void open_connection(Connection *c) {
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
    if (opt.mode != CHURN) /* a single send on a new connection goes out at once anyway */
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&opt.server, sizeof opt.server) != 0 && errno != EINPROGRESS) {
        fail(c, "connect: %s", strerror(errno));
        return;
    }
    /* Edge-triggered and for both directions, once: no epoll_ctl for a partial write. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) { fail(c, "epoll_ctl: %s", strerror(errno)); return; }
    begin_message(c); /* over loopback the handshake is usually done by now */
}

static void open_next(void) {
    if (opened < opt.connections) open_connection(&all[opened++]);
}

static void completed(Connection *c) {
    c->due = false;
    replies_due--;
    if (measuring) {
        messages++;
        record(now() - c->began);
    }
    if (opt.mode == CHURN) {
        close(c->fd); /* an ordinary close: FIN, as a real client's, not a reset */
        c->fd = -1;
        alive--;
        if (phase != DRAINING) open_connection(c);
    } else if (phase == OPENING) {
        open_next();
    } else if (phase == RUNNING) {
        begin_message(c);
    }
}

static void pull(Connection *c, bool to_the_end) {
    for (;;) {
        /* The kernel discards what is not compared (MSG_TRUNC).  The last read of a reply asks for
         * more than is left, so that a byte too many is seen. */
        bool compared = c->from <= c->got && c->got < c->to;
        size_t limit = READ_SIZE;
        if (c->got < c->from) limit = c->from - c->got;
        else if (compared && c->to < opt.size) limit = c->to - c->got;
        ssize_t n = recv(c->fd, read_buffer, limit, compared ? 0 : MSG_TRUNC);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { fail(c, "receive: %s", strerror(errno)); return; }
        if (n == 0) { fail(c, "closed by the server with %zu of %zu bytes read", c->got, opt.size); return; }
        if (!c->due || (size_t)n > opt.size - c->got) { fail(c, "more bytes than were sent"); return; }
        if (compared && memcmp(read_buffer, c->message + c->got, (size_t)n) != 0) {
            size_t at = 0;
            while (read_buffer[at] == c->message[c->got + at]) at++;
            fail(c, "byte %zu of the reply is wrong", c->got + at);
            return;
        }
        c->got += (size_t)n;
        if (c->got == opt.size) {
            completed(c);
            if (opt.mode == CHURN) return; /* that descriptor is gone */
        }
        if ((size_t)n < limit && !to_the_end) return;
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void turn(int timeout_ms) {
    struct epoll_event events[EVENTS];
    send_begun();
    int count = epoll_wait(loop_fd, events, EVENTS, timeout_ms);
    if (count < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        uint32_t what = events[i].events;
        if (c == NULL) { /* standard input: `idle` is told to let go */
            char byte;
            if (read(STDIN_FILENO, &byte, 1) <= 0) holding = false;
            continue;
        }
        /* An event may be older than the connection that took its predecessor's place: it only
         * says "try", and what recv and send answer is what counts. */
        if (c->fd >= 0 && what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            pull(c, what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
        if (c->fd >= 0 && c->due && !c->queued && c->sent < opt.size) push(c);
    }
}

static void run_for(double seconds) {
    uint64_t t = now(), end = t + (uint64_t)(seconds * (double)SECOND);
    for (; t < end && alive > 0; t = now()) turn((int)((end - t) / 1000000) + 1);
}

/* Opens the connections, a window at a time, and waits until each has had one reply. */
static void open_all(void) {
    uint64_t limit = now() + OPENING_LIMIT * SECOND;
    for (int i = 0; i < OPENING_WINDOW; i++) open_next();
    while ((opened < opt.connections || replies_due > 0) && failures == 0 && now() < limit) turn(100);
    for (int i = 0; i < opt.connections && failures == 0; i++)
        if (i >= opened || all[i].due) fail(&all[i], "not open after %d s", OPENING_LIMIT);
}

/* Every message that was sent must have had its reply, also the last ones. */
static void drain(void) {
    uint64_t limit = now() + DRAIN_LIMIT * SECOND;
    phase = DRAINING;
    while (replies_due > 0 && now() < limit) turn(100);
    for (int i = 0; i < opt.connections; i++)
        if (all[i].due) fail(&all[i], "no reply within %d s, %zu of %zu bytes read", DRAIN_LIMIT, all[i].got, opt.size);
}

static void hold(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0) die("idle: standard input must be a pipe or a terminal");
    printf("ready\n");
    fflush(stdout);
    for (holding = true; holding && failures == 0;) turn(-1); /* a connection that closes meanwhile is a failure */
}

/* ---- the program ----------------------------------------------------------------------------- */

static void parse(int argc, char **argv) {
    static const struct option options[] = {
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},     {"warmup", required_argument, NULL, 'w'},
        {"sources", required_argument, NULL, 'a'},     {"server-pid", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'c': opt.connections = atoi(optarg); break;
        case 's': opt.size = (size_t)atol(optarg); break;
        case 't': opt.seconds = atof(optarg); break;
        case 'w': opt.warmup = atof(optarg); break;
        case 'a': opt.sources = atoi(optarg); break;
        case 'p': opt.server_pid = atoi(optarg); break;
        default: exit(2);
        }
    }
    if (argc - optind != 3) die("usage: load echo|churn|idle HOST PORT [--connections N] [--size BYTES] "
                                "[--seconds S] [--warmup S] [--sources N] [--server-pid PID]");
    const char *mode = argv[optind];
    if (strcmp(mode, "echo") == 0) opt.mode = ECHO;
    else if (strcmp(mode, "churn") == 0) opt.mode = CHURN;
    else if (strcmp(mode, "idle") == 0) opt.mode = IDLE;
    else die("no such mode: %s", mode);
    opt.server.sin_family = AF_INET;
    opt.server.sin_port = htons((uint16_t)atoi(argv[optind + 2]));
    if (inet_pton(AF_INET, argv[optind + 1], &opt.server.sin_addr) != 1) die("not an IPv4 address: %s", argv[optind + 1]);
    if (opt.connections < 1 || opt.size < 1 || opt.seconds <= 0 || opt.warmup < 0 || opt.sources < 0 || opt.sources > 250)
        die("a number is out of its range");
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    rlim_t need = (rlim_t)opt.connections + 16;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= need) return;
    if (limit.rlim_max < need) die("%d connections need %ju descriptors, the hard limit is %ju", opt.connections,
                                   (uintmax_t)need, (uintmax_t)limit.rlim_max);
    limit.rlim_cur = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) die("setrlimit: %s", strerror(errno));
}

int main(int argc, char **argv) {
    parse(argc, argv);
    raise_descriptor_limit();
    fill_table();
    all = calloc((size_t)opt.connections, sizeof *all);
    outbox = calloc((size_t)opt.connections, sizeof *outbox);
    loop_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < opt.connections; i++) all[i].fd = -1;

    Clocks before = {0}, after = {.at = SECOND};
    if (opt.mode == CHURN) {
        phase = RUNNING;
        for (int i = 0; i < opt.connections; i++) open_next();
    } else {
        open_all();
    }
    if (opt.mode == IDLE) {
        if (failures == 0) hold();
    } else {
        if (opt.mode == ECHO) {
            phase = RUNNING;
            for (int i = 0; i < opt.connections && failures == 0; i++) begin_message(&all[i]);
        }
        run_for(opt.warmup);
        before = read_clocks();
        measuring = true;
        run_for(opt.seconds);
        measuring = false;
        after = read_clocks();
        drain();
    }
    double elapsed = (double)(after.at - before.at), seconds = elapsed / (double)SECOND;
    printf("{\"connections\": %d, \"size\": %zu, \"seconds\": %.3f, \"messages\": %ju, \"per_second\": %.1f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"client_cpu\": %.3f, \"server_cpu\": %.3f, "
           "\"client_waited\": %.3f, \"server_waited\": %.3f, \"failures\": %ju, \"error\": \"%s\"}\n",
           opt.connections, opt.size, seconds, (uintmax_t)messages, (double)messages / seconds,
           percentile_us(0.50), percentile_us(0.99),
           (double)(after.client - before.client) / elapsed, (double)(after.server - before.server) / elapsed,
           (double)(after.client_waited - before.client_waited) / elapsed,
           (double)(after.server_waited - before.server_waited) / elapsed, (uintmax_t)failures, first_error);
    return failures ? 1 : 0;
}
