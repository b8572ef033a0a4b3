"""An echo server with TLS. Without a certificate it makes one, and prints it for clients to trust:

    python examples/tls_echo.py [host:port] [--cert FILE --key FILE] | tee echo.pem
    openssl s_client -connect 127.0.0.1:8443 -CAfile echo.pem

With files, HUP reads them again: new connections get the new certificate, live ones stay.
"""

import argparse
import signal
from pathlib import Path

import gevent
from selfsigned import certificate

import greensock


class Echo(greensock.Handlers):
    def data(self, socket, data):
        socket.write(data)


parser = argparse.ArgumentParser()
parser.add_argument("address", nargs="?", default="127.0.0.1:8443")
parser.add_argument("--cert", type=Path, help="the certificate, with its chain behind it")
parser.add_argument("--key", type=Path, help="its private key")
args = parser.parse_args()

key, cert = (args.key, args.cert) if args.cert or args.key else certificate()
server = greensock.listen(args.address, Echo(), tls=greensock.TLS(key=key, cert=cert))
gevent.signal_handler(signal.SIGHUP, lambda: server.reload(tls=greensock.TLS(key=key, cert=cert)))

print(f"listening on {server.url}", flush=True)
if cert is not args.cert:
    print(cert.decode(), flush=True)
greensock.run(server)
