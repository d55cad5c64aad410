"""The bus's own certificate authority: without a certificate of it nobody speaks to the server.

    <directory>/ca.pem    what everybody knows it by
    <directory>/ca.key    what it signs with, mode 0600; nobody else ever needs it

Certificates let a process through the door; what it may do there is its NKey's matter.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.bus.credentials import CA, CERT, CERT_KEY
from shared.files import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AUTHORITY_LIFE = dt.timedelta(days=3650)
CERT_LIFE = dt.timedelta(days=397)
RENEW_BEFORE = dt.timedelta(days=30)
"""A certificate that ends sooner is made anew."""
SLACK = dt.timedelta(hours=1)
"""Clocks differ."""


class Authority:
    """The authority in `directory`, which is made if there is none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._key_file.exists():
            self._found()
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._cert = x509.load_pem_x509_certificate(self._cert_file.read_bytes())

    def issue(self, name: str, target: Path, *, prefix: str, server: Sequence[str] = ()) -> bool:
        """Have a certificate and its key in `target`; whether they are new.

        With `server` it is a server's, for these host names and addresses.
        """
        files = {part: target / f"{prefix}{part}" for part in (CA, CERT, CERT_KEY)}
        if all(file.exists() for file in files.values()) and self._good(files[CERT], server):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._sign(name, key.public_key(), server)
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(files[CERT_KEY], _private(key))
        write_private(files[CERT], cert.public_bytes(serialization.Encoding.PEM))
        write_private(files[CA], self._cert_file.read_bytes())
        return True

    def _sign(
        self, name: str, public: ec.EllipticCurvePublicKey, server: Sequence[str]
    ) -> x509.Certificate:
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(name, public, CERT_LIFE).issuer_name(self._cert.subject)
        if server:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(_names(server), critical=False)
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )

    def _good(self, file: Path, server: Sequence[str]) -> bool:
        """Whether a certificate is ours, lasts, and is for these names."""
        cert = x509.load_pem_x509_certificate(file.read_bytes())
        try:
            cert.verify_directly_issued_by(self._cert)
        except Exception:  # noqa: BLE001 - it says in five ways that it is another's
            return False
        lasts = cert.not_valid_after_utc - RENEW_BEFORE > _now()
        try:
            found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return lasts and not server
        return lasts and bool(server) and found == _names(server)

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        name = "Coxswain's bus"
        cert = (
            _builder(name, key.public_key(), AUTHORITY_LIFE)
            .issuer_name(_name(name))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            .sign(key, hashes.SHA256())
        )
        # The key last: without it the authority is founded again.
        write_private(self._cert_file, cert.public_bytes(serialization.Encoding.PEM))
        write_private(self._key_file, _private(key))

    @property
    def _key_file(self) -> Path:
        return self._directory / "ca.key"

    @property
    def _cert_file(self) -> Path:
        return self._directory / "ca.pem"


def _builder(
    name: str, public: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - SLACK)
        .not_valid_after(_now() + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(texts: Sequence[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for text in texts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            found.append(x509.DNSName(text))
    return x509.SubjectAlternativeName(found)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
