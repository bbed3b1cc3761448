"""A throw-away certificate authority, and what it signs, as PEM files."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder, self.key, self.name = folder, ec.generate_private_key(ec.SECP256R1()), _named("tests")
        self.certificate = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.path = folder / "ca.pem"
        self.path.write_bytes(_pem(self.certificate))

    def issue(self, name):
        """The files of a key and of its certificate, for 127.0.0.1; and one with both."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_named(name), key.public_key(),
                                 x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]))
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                   serialization.NoEncryption())
        files = [self.folder / f"{name}.{what}.pem" for what in ("key", "certificate", "both")]
        for path, content in zip(files, (secret, _pem(certificate), secret + _pem(certificate))):
            path.write_bytes(content)
        return files

    def _sign(self, subject, public_key, extension):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
                   .serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
                   .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2)))
        return builder.sign(self.key, hashes.SHA256())


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
