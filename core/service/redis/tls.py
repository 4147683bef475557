"""TLS to Redis: the `ssl_` options of a URL, tried before anything connects; and why a connection fails.

Certificate and host name are verified unless a URL says otherwise.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from core.service.domain.errors import StoreMisconfigured

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
OPTIONS = (*_FILES, "ssl_ca_path", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version")
"""redis-py's options that a URL may have, the same for records and messages."""
_REQUIREMENTS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
TLS_VERSIONS = f"{ssl.TLSVersion.TLSv1_2:d} for TLS 1.2 or {ssl.TLSVersion.TLSv1_3:d} for TLS 1.3"
"""What ssl_min_version may be: OpenSSL's numbers."""
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons for an answer that is not TLS; which one depends on its version and on the answer."""
_CERTIFICATE_FAULTS = {
    9: ("is not valid yet", "set this machine's clock, or wait"),
    10: ("has expired", "give Redis a new one"),
    18: ("is signed by no CA that is trusted here", "name the CA's file in the URL: ssl_ca_certs=/path/ca.pem"),
    62: ("is for another host name", "use a name of the certificate in the URL, or make one for this name"),
    64: ("is not for this IP address", "use a name of the certificate in the URL, or make one for this address"),
}
"""What is wrong, and what mends it, by X.509 verify code (openssl-verification-options(1))."""
_SAME_FAULT = {19: 18, 20: 18, 21: 18}


class TlsRefused(RedisConnectionError):
    """A fault of TLS that waiting does not mend. Its text has the setting and the address; `fix` is what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def tls_options(given: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """redis-py's arguments for the `ssl_` options `given` in a URL (as redis-py parses them), with verification where
    they do not say. Reads their files. `setting` is the variable with the URL. Raises StoreMisconfigured."""
    unknown = sorted(given.keys() - set(OPTIONS))
    if unknown:
        _refuse(f"{setting} has an option {unknown[0]} that is not known", f"use {', '.join(OPTIONS)}")
    options = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **given}
    if options["ssl_cert_reqs"] not in _REQUIREMENTS:
        _refuse(f"{setting} has another ssl_cert_reqs than there are", f"use one of {', '.join(_REQUIREMENTS)}")
    if options.get("ssl_min_version") not in {None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3}:
        _refuse(f"{setting} has another ssl_min_version than there are", f"give {TLS_VERSIONS}")
    for name in _FILES:
        if name in given:
            _require_file(name, given[name], setting)
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        _refuse(f"{setting} has ssl_keyfile without ssl_certfile", "give the client's certificate and its key")
    _try_files(options, setting)
    return options


def _require_file(name: str, path: str, setting: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        _refuse(
            f"{name} in {setting} names {path}, which cannot be read: {error.strerror}",
            "give the full path of a PEM file that this process may read",
        )


def _try_files(options: Mapping[str, Any], setting: str) -> None:
    try:
        make_context({**options, "ssl_certfile": None, "ssl_keyfile": None})
    except (OSError, ValueError):
        _refuse(f"ssl_ca_certs in {setting} names a file without certificates", "give a PEM file of the CA")
    try:
        make_context(options)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        _refuse(
            f"ssl_certfile and ssl_keyfile in {setting} are not a certificate and its key ({reason})",
            "give both as PEM files, and ssl_password if the key is encrypted",
        )


def _refuse(message: str, fix: str) -> NoReturn:
    raise StoreMisconfigured(message, fix=fix)


def make_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """The context that redis-py makes of these options. Raises OSError (ssl.SSLError) for files that are none."""
    context = ssl.create_default_context()
    context.verify_mode, verified = ssl.CERT_REQUIRED, _REQUIREMENTS[options["ssl_cert_reqs"]]
    context.check_hostname = verified != ssl.CERT_NONE and options["ssl_check_hostname"]
    context.verify_mode = verified
    if options.get("ssl_certfile"):
        # Never None: OpenSSL would ask for the password of an encrypted key at the terminal, and wait.
        password = options.get("ssl_password") or ""
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), password)
    if options.get("ssl_ca_certs") or options.get("ssl_ca_path"):
        context.load_verify_locations(options.get("ssl_ca_certs"), options.get("ssl_ca_path"))
    if options.get("ssl_min_version"):
        context.minimum_version = options["ssl_min_version"]
    return context


@dataclass(frozen=True)
class Server:
    """Where a connection leads. `tls` None: without TLS. `seconds` is the time limit of each question asked there."""

    host: str
    port: int
    setting: str
    seconds: float
    tls: Mapping[str, Any] | None = field(default=None, repr=False)

    def refusal(self, error: BaseException) -> TlsRefused | None:
        """The fault of TLS behind a failed connection; None if it is something else, which may pass.

        Where the error does not say enough, asks the server once more: one that expects TLS hangs up without a word
        when it gets none, one that does not waits for the rest of a command, and one that wants a client's certificate
        says so after the handshake only.
        """
        cause = error.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return self._certificate_refused(cause)
        if self.tls is None:
            if _hung_up(error) and self._speaks_tls():
                return self._refused("speaks TLS, and the URL is without", "write rediss://, with Sentinels &ssl=true")
            return None
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return self._speaks_no_tls()
        if isinstance(cause, TimeoutError):
            return self._speaks_no_tls() if self._answers_plainly() else None
        return self._client_refused() if _hung_up(error) else None

    def _refused(self, what: str, fix: str) -> TlsRefused:
        return TlsRefused(f"{self.host}:{self.port} of {self.setting} {what}", fix)

    def _certificate_refused(self, error: ssl.SSLCertVerificationError) -> TlsRefused:
        code = _SAME_FAULT.get(error.verify_code, error.verify_code)
        what, fix = _CERTIFICATE_FAULTS.get(code, (f"is refused: {error.verify_message}", "give Redis another one"))
        return TlsRefused(f"the certificate of {self.host}:{self.port} of {self.setting} {what}", fix)

    def _speaks_no_tls(self) -> TlsRefused:
        return self._refused("does not speak TLS", "use Redis' tls-port, or redis:// (with Sentinels no ssl=true)")

    def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname = False  # whether, not who: nothing is sent
        context.verify_mode = ssl.CERT_NONE
        try:
            with self._socket() as plain, context.wrap_socket(plain):
                return True
        except OSError:
            return False

    def _answers_plainly(self) -> bool:
        try:
            with self._socket() as plain:
                plain.sendall(b"PING\r\n")
                return plain.recv(1) in {b"+", b"-"}
        except OSError:
            return False

    def _client_refused(self) -> TlsRefused | None:
        """What a server that has seen our certificate, or none, says before it hangs up."""
        assert self.tls is not None
        try:
            with (
                self._socket() as plain,
                make_context(self.tls).wrap_socket(plain, server_hostname=self.host) as secure,
            ):
                secure.recv(1)
        except ssl.SSLError as error:
            if "ALERT" not in (error.reason or ""):
                return None
            if self.tls.get("ssl_certfile"):
                return self._refused(
                    f"refuses the client's certificate ({error.reason})",
                    "give one that its CA has signed and that is valid: ssl_certfile=/path/client.pem",
                )
            return self._refused(
                f"asks for a client's certificate ({error.reason})",
                "add ssl_certfile=/path/client.pem and ssl_keyfile=/path/client.key, or set its tls-auth-clients to no",
            )
        except OSError:
            pass
        return None

    def _socket(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), self.seconds)


def _hung_up(error: BaseException) -> bool:
    """The server took the connection and ended it, or answered with what is not Redis' protocol."""
    cause = error.__context__
    return (
        isinstance(error, InvalidResponse)
        or isinstance(cause, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
        or "closed by server" in str(error)
    )
