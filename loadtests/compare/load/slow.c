/* A slow reader: every connection sends as much as it can, and reads little.
 *
 * An echo server cannot get rid of what it has read.  A server with backpressure then stops reading, and
 * its memory stays what it was; one without keeps all that comes.  The bench looks at its memory. */
#include "load.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define PORTIONS 100       /* a second: the whole of what may be read, from one connection after the other */
#define SENT_AT_ONCE 65536 /* bytes of one connection, before it is another's turn */

uint64_t bytes_read;

static uint64_t start;

static void replied(Connection *c) {
    (void)c;
    messages++;
}

static void serve_slowly(Connection *c, uint32_t what) {
    if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) fail(c, "closed by the server");
    else if (what & EPOLLOUT) c->blocked = false;
}

/* Whether there may be more that the kernel takes. */
static bool send_more(void) {
    bool more = false;
    for (int i = 0; i < opt.connections; i++) {
        Connection *c = &all[i];
        for (size_t sent = 0; sent < SENT_AT_ONCE && c->fd >= 0 && !c->blocked; sent += opt.size) {
            if (c->sending == c->begun) message_begun(c);
            send_stream(c);
        }
        more |= c->fd >= 0 && !c->blocked;
    }
    return more;
}

/* Never more, in all, than the time since the start allows. */
static void read_what_is_allowed(void) {
    static int next;
    uint64_t allowed = (uint64_t)((double)(now() - start) / (double)SECOND * opt.read_rate);
    size_t portion = (size_t)(opt.read_rate / PORTIONS) + 1;
    if (portion > READ_SIZE) portion = READ_SIZE;
    for (int empty = 0; empty < opt.connections && allowed - bytes_read >= portion;) {
        Connection *c = &all[next++ % opt.connections];
        next %= opt.connections;
        ssize_t n = c->fd < 0 ? 0 : recv(c->fd, read_buffer, portion, 0);
        if (n > 0) {
            bytes_read += (uint64_t)n;
            take_stream(c, read_buffer, (size_t)n);
            empty = 0;
            continue;
        }
        if (c->fd >= 0 && n == 0) fail(c, "closed by the server");
        else if (n < 0 && errno != EAGAIN && errno != EINTR) fail(c, "receive: %s", strerror(errno));
        empty++;
    }
}

uint64_t bytes_sent(void) {
    uint64_t sum = 0;
    for (int i = 0; i < opt.connections; i++) sum += all[i].sending * opt.size + all[i].sent;
    return sum;
}

void read_slowly(double seconds) {
    begin_streams(replied);
    serve = serve_slowly;
    phase = RUNNING;
    start = now();
    uint64_t end = start + (uint64_t)(seconds * (double)SECOND);
    bool more = send_more();
    if (failures == 0) say_ready();
    while (holding && failures == 0 && now() < end) {
        turn(more ? 0 : 1000 / PORTIONS);
        read_what_is_allowed();
        more = send_more();
    }
}
