/* A message on each connection, and its reply. */
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMPARED_WHOLE (64 * 1024)
#define SLICE (32 * 1024)

/* ---- messages -------------------------------------------------------------------------------- */

/* A message is a window into one table of random bytes, at a place that depends on the connection
 * and on the message's number.  So a reply that belongs to another connection, or to the message
 * before, is found out, and neither making nor checking a message costs a copy.  A table of frames
 * has its places where a frame begins. */
static unsigned char *table;
static size_t places = 8191, stride = 1;

static void make_frames(size_t length) {
    uint32_t prefix = htonl((uint32_t)(stride - sizeof prefix));
    for (size_t i = 0; i < length; i++)
        if (opt.frame == LINE) table[i] = i % stride == stride - 1 ? '\n' : (unsigned char)(' ' + table[i] % 95);
        else if (i % stride == 0) memcpy(table + i, &prefix, sizeof prefix);
}

void fill_table(void) {
    if (opt.frame != PLAIN) { /* few enough places that the table stays in the cache */
        places = 1021;
        stride = opt.size / (size_t)opt.pipeline;
    }
    size_t length = places * stride + opt.size;
    table = malloc(length);
    uint64_t x = 88172645463325252ull; /* xorshift: the same bytes for every peer */
    for (size_t i = 0; i < length; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        table[i] = (unsigned char)(x >> 32);
    }
    if (opt.frame != PLAIN) make_frames(length);
}

const unsigned char *message_of(const Connection *c, uint64_t serial) {
    return table + ((uint64_t)(c - all) * 613 + serial * 31) % places * stride;
}

void begin_message(Connection *c) {
    c->serial++;
    c->message = message_of(c, c->serial);
    c->sent = c->got = c->from = 0;
    c->to = opt.size;
    if (measuring && opt.size > COMPARED_WHOLE) {
        size_t slices = (opt.size + SLICE - 1) / SLICE;
        c->from = c->serial % slices * SLICE;
        c->to = c->from + SLICE < opt.size ? c->from + SLICE : opt.size;
    }
    c->due = true;
    replies_due++;
    send_soon(c);
}

/* ---- replies --------------------------------------------------------------------------------- */

static void completed(Connection *c) {
    c->due = false;
    replies_due--;
    if (measuring) {
        messages += (uint64_t)opt.pipeline;
        record(&latencies, now() - c->began);
    }
    if (opt.mode == CHURN) {
        if (c->tls != NULL && !check_tls(c)) return;
        close_connection(c, true);
        if (phase != DRAINING) open_connection(c);
    } else if (phase == OPENING) {
        open_next();
    } else if (phase == RUNNING) {
        begin_message(c);
    }
}

void receive_reply(Connection *c, bool to_the_end) {
    for (;;) {
        /* The kernel discards what is not compared (MSG_TRUNC).  The last read of a reply asks for
         * more than is left, so that a byte too many is seen. */
        bool compared = c->from <= c->got && c->got < c->to;
        size_t limit = READ_SIZE;
        if (c->got < c->from) limit = c->from - c->got;
        else if (compared && c->to < opt.size) limit = c->to - c->got;
        ssize_t n = receive_some(c, read_buffer, limit, compared);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { fail(c, "receive: %s", why()); return; }
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
        if ((size_t)n < limit && !to_the_end && c->tls == NULL) return; /* OpenSSL ends at each record */
    }
}
