"""A mail server that wants TLS before it takes a message (RFC 3207), and then throws it away.

python examples/starttls.py [address]
openssl s_client -starttls smtp -crlf -quiet -connect 127.0.0.1:8025
"""

import sys

from selfsigned import certificate

import greensock

key, cert = certificate()
tls = greensock.TLS(key=key, cert=cert)


def smtp(socket):
    """One client, from its first line to its last."""
    say = socket.write_message
    envelope: list[str] = []  # the sender, and who shall have it
    say("220 localhost ready")
    for line in socket.messages():
        command, _, words = line.decode(errors="replace").partition(" ")
        match command.upper():
            case "HELO" | "EHLO" if socket.encrypted:
                say("250 localhost")
            case "HELO" | "EHLO":
                say("250-localhost")
                say("250 STARTTLS")
            case "STARTTLS" if not socket.encrypted:
                say("220 go ahead")
                socket.upgrade_tls(tls)  # what came behind STARTTLS in clear is refused
                envelope = []  # and what was said before it may be anybody's
            case "NOOP":
                say("250 ok")
            case "RSET":
                envelope = []
                say("250 ok")
            case "QUIT":
                say("221 bye")
                return
            case _ if not socket.encrypted:
                say("530 first STARTTLS")
            case "MAIL":
                envelope = [words]
                say("250 ok")
            case "RCPT" if envelope:
                envelope.append(words)
                say("250 ok")
            case "DATA" if len(envelope) > 1:
                say("354 end it with a line that is a dot")
                lines = sum(1 for _ in iter(socket.read_message, b"."))
                print(f"{lines} lines {' '.join(envelope)}", flush=True)
                envelope = []
                say("250 thank you")
            case _:
                say("503 not now")


address = sys.argv[1] if sys.argv[1:] else "127.0.0.1:8025"
server = greensock.listen(address, smtp, framing=greensock.framing.Lines(b"\r\n"), idle_timeout=60)
print(f"listening on {server.url}", flush=True)
print(cert.decode(), flush=True)
greensock.run(server)
