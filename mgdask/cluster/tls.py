"""Encryption and authentication of a scheduler, its workers and its clients.

Anyone who can connect to a Dask scheduler, worker or nanny can run code as its owner.
Every user of a machine can reach its loopback address. Clusters of mgdask therefore
admit only processes that hold the private key of a certificate. If the user gives none,
each cluster makes its own. Workers, jobs of a queueing system and clients of
``mgdask cluster start`` read it from files that only this user can read.
"""

from __future__ import annotations

import datetime
import logging
import os
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mgdask.cluster.checks import check_tls
from mgdask.cluster.site import Site, Tls
from mgdask.store.failures import explained

if TYPE_CHECKING:
    from distributed import Security

log = logging.getLogger(__name__)

TRUSTED_NETWORK = (
    "tls: off: everyone who reaches the ports of the scheduler and the workers can run code as "
    "you. On the loopback address, these are all users of this machine"
)
"""Warning for a site that switches encryption off."""
_ROLES = ("client", "scheduler", "worker")
_ALWAYS = datetime.datetime(2000, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)
"""Validity of a temporary certificate: a clock that is wrong or set back does no harm.

A certificate ends with its cluster, because nothing else holds its key.
"""


def temporary_certificate() -> tuple[str, str]:
    """Return a new self-signed certificate and its private key, as PEM text.

    Notes
    -----
    ``distributed.Security.temporary`` makes an RSA key, which takes a hundred times
    longer. Its certificate is not yet valid where the clock is behind.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, f"mgdask-{secrets.token_hex(8)}")]
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        **dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "crl_sign", "encipher_only", "decipher_only"),
            ),
            False,
        ),
    )
    begin, end = _ALWAYS
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(pem).decode(), private.decode()


def settings(ca: str, cert: str, key: str) -> Security:
    """Return Dask's security settings from file names or PEM texts."""
    from distributed import Security

    parts = {
        f"tls_{role}_{part}": value
        for role in _ROLES
        for part, value in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=ca, require_encryption=True, **parts)


def make_security(tls: Tls | None) -> Security | None:
    """Return Dask's security settings, which refuse unencrypted connections."""
    if tls is None:
        return None
    check_tls(tls)
    return settings(tls.ca, tls.cert, tls.key)


def quoted(security: Security | None) -> Security | None:
    """Return security settings whose file names are words of a shell."""
    if security is None:
        return None
    files = security.get_tls_config_for_role("worker")
    return settings(*(shlex.quote(str(files[name])) for name in ("ca_file", "cert", "key")))


def local_security(site: Site | None, scratch: str | None = None) -> Security | None:
    """Return the settings of a cluster of this machine; ``None`` for ``tls: off``.

    A temporary certificate is written to the private folder ``scratch``. Without it,
    it stays in the memory of this process and of its workers. Each of them then needs
    a temporary file for a moment, which is left behind if it is killed just then.
    """
    if site is not None and isinstance(site.tls, Tls):
        return make_security(site.tls)
    if site is not None and site.tls == "off":
        log.warning(TRUSTED_NETWORK)
        return None
    if scratch is not None:
        with explained(scratch):
            return make_security(write_certificate(Path(scratch)))
    certificate, key = temporary_certificate()
    return settings(certificate, certificate, key)


def write_certificate(folder: Path) -> Tls:
    """Write a temporary certificate and its key, which only this user can read."""
    certificate, key = temporary_certificate()
    names = {"ca": certificate, "cert": certificate, "key": key}
    for name, text in names.items():
        path = folder / f"{name}.pem"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    return Tls(**{name: str(folder / f"{name}.pem") for name in names})
