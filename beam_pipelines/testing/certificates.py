"""Certificates for servers on loopback, of an authority of their own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["made"]

_DAY = dt.timedelta(days=1)


def made(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1.

    Args:
        folder: Where the files go.

    Returns:
        The authority's certificate; and the server's, with its key before it, both as PEM.
    """
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beam-pipelines tests")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    root = _signed(issuer, issuer, authority, authority, x509.BasicConstraints(ca=True, path_length=None))
    server = _signed(subject, issuer, key, authority, loopback)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ca, both = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(private + server.public_bytes(serialization.Encoding.PEM))
    return ca, both


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.timezone.utc)
    unsigned = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    unsigned = unsigned.serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + _DAY)
    return unsigned.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints)).sign(authority, hashes.SHA256())
