/* Messages that come to all connections.
 *
 * The first connections are publishers.  Each has one message on its way, and sends the next when
 * that one has reached everybody.  The server greets each connection with one byte when it has let
 * it in, and from then on sends it whatever any of them says.  The first byte of a message names
 * its publisher; so a receiver knows with which message to compare the rest, and needs no buffer
 * for half of one.  In the server's time messages of several publishers may be in any order. */
#include "load.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int *missing;    /* for each publisher: how many have not got its message yet */
static bool *got_it;    /* for each connection and publisher: it has */
static unsigned char *bodies;

static bool *has(const Connection *c, const Connection *publisher) {
    return &got_it[(publisher - all) * opt.connections + (c - all)];
}

void prepare_broadcast(void) {
    size_t publishers = (size_t)opt.publishers;
    missing = calloc(publishers, sizeof *missing);
    got_it = calloc(publishers * (size_t)opt.connections, sizeof *got_it);
    bodies = malloc(publishers * opt.size);
}

void await_greeting(Connection *c) {
    c->sent = opt.size; /* nothing to send */
    c->due = true;
    replies_due++;
}

void publish(Connection *c) {
    size_t number = (size_t)(c - all);
    unsigned char *message = bodies + number * opt.size;
    c->serial++;
    memcpy(message, message_of(c, c->serial), opt.size);
    message[0] = (unsigned char)number;
    c->message = message;
    c->sent = 0;
    missing[number] = opt.connections;
    memset(has(all, c), false, (size_t)opt.connections * sizeof *got_it);
    c->due = true;
    replies_due++;
    send_soon(c);
}

static void delivered(Connection *c, Connection *publisher) {
    if (measuring) messages++;
    *has(c, publisher) = true;
    if (--missing[publisher - all] > 0) return;
    publisher->due = false;
    replies_due--;
    if (measuring) record(&latencies, now() - publisher->began);
    if (phase == RUNNING) publish(publisher);
}

/* Whether all was as it should be. */
static bool take(Connection *c, const unsigned char *data, size_t length) {
    while (length > 0) {
        if (c->got == 0) c->from = data[0];
        Connection *publisher = &all[c->from];
        if (c->from >= (size_t)opt.publishers || !publisher->due || *has(c, publisher)) {
            fail(c, "a message that nobody sent, or that had come before");
            return false;
        }
        size_t part = length < opt.size - c->got ? length : opt.size - c->got;
        if (memcmp(data, publisher->message + c->got, part) != 0) {
            fail(c, "a message of connection %zu is wrong", c->from);
            return false;
        }
        data += part, length -= part, c->got += part;
        if (c->got == opt.size) {
            c->got = 0;
            delivered(c, publisher);
        }
    }
    return true;
}

void receive_broadcast(Connection *c, bool to_the_end) {
    for (;;) {
        ssize_t n = recv(c->fd, read_buffer, READ_SIZE, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { fail(c, "receive: %s", strerror(errno)); return; }
        if (n == 0) { fail(c, "closed by the server"); return; }
        if (phase != OPENING) {
            if (!take(c, read_buffer, (size_t)n)) return;
        } else if (n != 1 || !c->due) {
            fail(c, "more than one byte of greeting");
            return;
        } else {
            c->due = false;
            replies_due--;
            open_next();
        }
        if (n < READ_SIZE && !to_the_end) return;
    }
}
