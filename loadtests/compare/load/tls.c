/* TLS under a connection, and the seam between the two kinds of connection.
 *
 * The client offers TLS 1.3 with one cipher suite and one key exchange, so that every server does
 * the same arithmetic, and trusts the one certificate that it is given: a server that shows another
 * one, or cannot do this, is a failure. */
#include "load.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SUITE "TLS_AES_128_GCM_SHA256"
#define KEY_EXCHANGE "X25519"

static SSL_CTX *context;
static BIO_METHOD *wire;
static SSL_SESSION **sessions; /* for each connection: what its predecessor was given to resume with */

/* ---- below OpenSSL: the socket --------------------------------------------------------------- */

/* A short read has emptied the socket.  OpenSSL asks once more to find that out for itself, and is
 * told without a system call; what comes later is a new event. */
static int wire_read(BIO *bio, char *data, int length) {
    Connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = -1;
    errno = EAGAIN;
    if (!c->drained) n = recv(c->fd, data, (size_t)length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
    if (n > 0 && n < length && !c->ending) c->drained = true;
    return (int)n;
}

static int wire_write(BIO *bio, const char *data, int length) {
    Connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(c->fd, data, (size_t)length, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
    return (int)n;
}

static long wire_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH; /* nothing is ever held back */
}

/* ---- sessions -------------------------------------------------------------------------------- */

static int keep_session(SSL *tls, SSL_SESSION *session) {
    SSL_SESSION **place = &sessions[(Connection *)SSL_get_app_data(tls) - all];
    SSL_SESSION_free(*place);
    *place = session;
    return 1; /* it is ours now */
}

/* ---- what the rest of the client sees -------------------------------------------------------- */

void prepare_tls(void) {
    context = SSL_CTX_new(TLS_client_method());
    wire = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    sessions = calloc((size_t)opt.connections, sizeof(SSL_SESSION *));
    if (context == NULL || wire == NULL || sessions == NULL) die("TLS: no memory");
    BIO_meth_set_read(wire, wire_read);
    BIO_meth_set_write(wire, wire_write);
    BIO_meth_set_ctrl(wire, wire_control);
    if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) || !SSL_CTX_set_ciphersuites(context, SUITE) ||
        !SSL_CTX_set1_groups_list(context, KEY_EXCHANGE))
        die("TLS: this OpenSSL has no TLS 1.3 with %s and %s", SUITE, KEY_EXCHANGE);
    if (!SSL_CTX_load_verify_file(context, opt.certificate)) die("TLS: no certificate in %s", opt.certificate);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN); /* it need not be an authority's */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_read_ahead(context, 1); /* else each record costs two calls: its head, and the rest */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (opt.mode == IDLE) SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (opt.resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_session);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
}

void start_tls(Connection *c) {
    BIO *bio = BIO_new(wire);
    c->tls = SSL_new(context);
    if (bio == NULL || c->tls == NULL) die("TLS: no memory");
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->tls, bio, bio);
    SSL_set_app_data(c->tls, c);
    SSL_set_connect_state(c->tls); /* the first send begins the handshake */
    SSL_SESSION **session = &sessions[c - all];
    if (*session != NULL && !SSL_set_session(c->tls, *session)) die("TLS: a session that cannot be used");
    SSL_SESSION_free(*session); /* a ticket is for one connection */
    *session = NULL;
}

/* Whether the handshake was of the kind that is measured: a server need not give tickets, nor take them. */
bool check_tls(Connection *c) {
    bool resumed = SSL_session_reused(c->tls), wanted = opt.resume && c->serial > 1;
    if (resumed != wanted) fail(c, "the handshake was %s", resumed ? "resumed" : "not resumed");
    return resumed == wanted;
}

/* Says that this side has nothing more to say (close_notify), when there is somebody to say it to. */
void end_tls(Connection *c, bool politely) {
    if (politely) SSL_shutdown(c->tls);
    SSL_free(c->tls);
    c->tls = NULL;
    ERR_clear_error();
}

/* What send and recv would have said. */
static ssize_t outcome(Connection *c, int result, const size_t *length) {
    if (result > 0) return (ssize_t)*length;
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return errno == 0 || errno == EAGAIN ? 0 : -1; /* 0: an end without close_notify */
    default: errno = EPROTO; return -1;
    }
}

ssize_t send_some(Connection *c, const unsigned char *data, size_t length) {
    if (c->tls == NULL) return send(c->fd, data, length, MSG_NOSIGNAL);
    size_t sent = 0;
    errno = 0;
    return outcome(c, SSL_write_ex(c->tls, data, length, &sent), &sent);
}

/* Without `wanted`, the bytes are of no interest: the kernel need not copy them. */
ssize_t receive_some(Connection *c, unsigned char *data, size_t length, bool wanted) {
    if (c->tls == NULL) return recv(c->fd, data, length, wanted ? 0 : MSG_TRUNC);
    size_t got = 0;
    errno = 0;
    return outcome(c, SSL_read_ex(c->tls, data, length, &got), &got);
}

const char *why(void) {
    if (errno != EPROTO) return strerror(errno);
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "TLS failed";
}
