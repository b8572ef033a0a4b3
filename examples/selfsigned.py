"""A key and a certificate for a server that was given none: made on the spot, and signed by nobody but itself."""

import ipaddress
import subprocess
from datetime import UTC, datetime, timedelta

HOSTS = ("localhost", "127.0.0.1", "::1")
DAYS = 30


def certificate():
    """A key and a certificate for this machine, as PEM: by the package cryptography, or else the program openssl."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        return by_openssl()

    def named(host):
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTS[0])])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # for clients whose clock is slow
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([named(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    forms = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, *forms), made.public_bytes(serialization.Encoding.PEM)


def by_openssl():
    names = ",".join(f"IP:{host}" if ":" in host or host[0].isdigit() else f"DNS:{host}" for host in HOSTS)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    command += ["-days", str(DAYS), "-subj", f"/CN={HOSTS[0]}", "-addext", f"subjectAltName={names}"]
    # Both go into the pipe: the key touches no disk.
    both = subprocess.run([*command, "-keyout", "-", "-out", "-"], capture_output=True, check=True).stdout
    key, begin, rest = both.partition(b"-----BEGIN CERTIFICATE-----")
    return key, begin + rest
