/* Messages that do not wait for the replies of those before.
 *
 * Several are under way on one connection, and their replies come in order.  So three counts are all that
 * a connection has to remember: which message is the n-th of it is known at any time. */
#include "load.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static void (*replied)(Connection *c);

/* Each connection has had one message when it was opened. */
static uint64_t serial_of(uint64_t n) { return n + 2; }

void message_begun(Connection *c) {
    c->begun++;
    if (!c->due) c->due = true, replies_due++;
}

/* Sends what was begun, as far as the kernel takes it. */
void send_stream(Connection *c) {
    while (c->sending < c->begun && !c->blocked) {
        const unsigned char *message = message_of(c, serial_of(c->sending));
        ssize_t n = send_some(c, message + c->sent, opt.size - c->sent);
        if (n > 0) c->sent += (size_t)n;
        else if (n == 0) { fail(c, "closed by the server"); return; } /* TLS alone can say so here */
        else if (errno == EAGAIN) c->blocked = true;
        else if (errno != EINTR) { fail(c, "send: %s", why()); return; }
        if (c->sent == opt.size) c->sent = 0, c->sending++;
    }
}

/* Compares all that came with what was sent.  Whether all was as it should be. */
bool take_stream(Connection *c, const unsigned char *data, size_t length) {
    while (length > 0) {
        size_t part = length < opt.size - c->got ? length : opt.size - c->got;
        const unsigned char *message = message_of(c, serial_of(c->answered));
        if (c->answered == c->sending && c->got + part > c->sent) {
            fail(c, "more bytes than were sent");
            return false;
        }
        if (memcmp(data, message + c->got, part) != 0) {
            size_t at = 0;
            while (data[at] == message[c->got + at]) at++;
            fail(c, "byte %zu of the reply is wrong", c->got + at);
            return false;
        }
        data += part, length -= part, c->got += part;
        if (c->got < opt.size) break;
        c->got = 0;
        c->answered++;
        c->serial = (uint32_t)serial_of(c->answered);
        replied(c);
    }
    if (c->answered == c->begun && c->due) c->due = false, replies_due--;
    return true;
}

static void receive_stream(Connection *c) {
    for (;;) {
        ssize_t n = receive_some(c, read_buffer, READ_SIZE, true);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) { fail(c, "receive: %s", why()); return; }
        if (n == 0) { fail(c, "closed by the server with %zu of %zu bytes read", c->got, opt.size); return; }
        if (!take_stream(c, read_buffer, (size_t)n)) return;
        if (n < READ_SIZE && !c->ending && c->tls == NULL) return; /* OpenSSL ends at each record */
    }
}

static void serve_stream(Connection *c, uint32_t what) {
    if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) receive_stream(c);
    c->blocked = false; /* TLS may have waited for either direction; where it is not so, the kernel says it again */
    if (c->fd >= 0) send_stream(c);
}

/* From here on the open connections are streams. */
void begin_streams(void (*on_reply)(Connection *c)) {
    replied = on_reply;
    serve = serve_stream;
    for (int i = 0; i < opt.connections; i++) {
        Connection *c = &all[i];
        c->sent = c->got = 0;
        c->serial = (uint32_t)serial_of(0);
    }
}
