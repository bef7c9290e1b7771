"""TLS: the certificate with which the server serves HTTPS itself."""

import ssl

from dreamserve.errors import SettingsError
from dreamserve.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the context of the certificate, or None without one.

    Raises SettingsError for files that cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if not cert and not key:
        return None
    if not (cert and key):
        raise SettingsError("HTTPS needs both --tls-cert and --tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password, because OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        named = f"--tls-cert {cert} and --tls-key {key}"
        raise SettingsError(f"{named} cannot be used: {error}") from None
    return context
