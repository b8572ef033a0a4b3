/*
 * What the parts of the load client share.
 *
 *   load.c         the command line, and the order in which things happen
 *   connections.c  opening, the epoll loop, failing
 *   echo.c         messages and their replies: echo, churn, idle
 *   stream.c       messages that do not wait for the replies of those before
 *   openloop.c     such messages on a fixed schedule
 *   broadcast.c    messages that come to all connections
 *   bulk.c         as many bytes as there is time for, one way or the other
 *   slow.c         a reader that is slow
 *   server.c       a server, and what it needs to listen
 *   tls.c          TLS under a connection
 *   clocks.c       time, latencies, CPU time
 */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define SECOND 1000000000ull
#define HISTOGRAM_BUCKETS (128 * 58)
#define READ_SIZE (256 * 1024) /* larger than most replies: a short read says "drained" and saves a call */

typedef enum { ECHO, CHURN, IDLE, BROADCAST, BULK, DOWNLOAD, SLOW, SINK, ECHO_SERVER } Mode; /* as in parse() */
typedef enum { PLAIN, LENGTH, LINE } Frame;
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
    uint64_t begun, sending, answered; /* a stream: messages that may be sent, whole ones sent, whole replies read */
    bool blocked;                      /* a stream: the kernel takes no more until it says so */
    struct ssl_st *tls;           /* NULL: a plain one */
    bool drained, ending;         /* TLS: nothing to read until the next event; read until it says so itself */
} Connection;

typedef struct {
    Mode mode;
    Frame frame;
    struct sockaddr_in server;
    int connections, sources, pipeline, publishers;
    size_t size; /* of what is sent at once: a message, or `pipeline` frames */
    uint64_t bytes;
    double seconds, warmup;
    double rate; /* messages a second in all, whatever the replies do; 0: each waits for the reply before */
    double read_rate; /* bytes a second in all */
    pid_t server_pid;
    const char *certificate; /* NULL: no TLS */
    bool resume;
} Options;

extern Options opt;
extern Phase phase;
extern bool measuring, holding; /* holding: standard input is open still */
extern Connection *all;
extern int alive, replies_due;
extern void (*serve)(Connection *c, uint32_t what); /* what an epoll event of a connection means */
extern uint64_t messages, failures; /* messages: whatever the figure counts */
extern char first_error[256];
extern unsigned char read_buffer[READ_SIZE];

/* clocks.c */
typedef struct {
    uint64_t at, client, server;           /* when; CPU time used until then */
    uint64_t client_waited, server_waited; /* time spent runnable without a core */
} Clocks;
uint64_t now(void);
Clocks read_clocks(void);
typedef struct {
    uint64_t recorded;
    uint64_t counts[HISTOGRAM_BUCKETS];
} Histogram;
extern Histogram latencies;
void record(Histogram *histogram, uint64_t ns);
double percentile_us(const Histogram *histogram, double share);

/* connections.c */
_Noreturn void die(const char *format, ...);
void spoil(const char *format, ...);
void fail(Connection *c, const char *format, ...);
void prepare_connections(void);
void send_soon(Connection *c);
void open_connection(Connection *c);
void close_connection(Connection *c, bool politely);
void open_next(void);
void open_all(void);
int turn(int timeout_ms);
void run_for(double seconds);
void drain(void);
void say_ready(void);
void hold(void);

/* echo.c */
void fill_table(void);
const unsigned char *message_of(const Connection *c, uint64_t serial);
void begin_message(Connection *c);
void receive_reply(Connection *c, bool to_the_end);

/* stream.c */
void begin_streams(void (*on_reply)(Connection *c));
void message_begun(Connection *c);
void send_stream(Connection *c);
bool take_stream(Connection *c, const unsigned char *data, size_t length);

/* openloop.c */
extern uint64_t offered, idle;
extern Histogram lateness;
void begin_schedule(void);
void keep_schedule_for(double seconds);

/* tls.c: as send and recv, for connections of both kinds */
void prepare_tls(void);
void start_tls(Connection *c);
bool check_tls(Connection *c);
void end_tls(Connection *c, bool politely);
ssize_t send_some(Connection *c, const unsigned char *data, size_t length);
ssize_t receive_some(Connection *c, unsigned char *data, size_t length, bool wanted);
const char *why(void);

/* broadcast.c */
void prepare_broadcast(void);
void await_greeting(Connection *c);
void publish(Connection *c);
void receive_broadcast(Connection *c, bool to_the_end);

/* bulk.c */
void transfer(uint64_t bytes);
void download(uint64_t bytes);
_Noreturn void serve_as_sink(void);

/* slow.c */
extern uint64_t bytes_read;
uint64_t bytes_sent(void);
void read_slowly(double seconds);

/* server.c */
int start_listening(int flags);
_Noreturn void serve_echo(void);

#endif
