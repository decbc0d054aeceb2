"""The processes of a local stack, their ports, and the environment of each."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clarion_cli.address import authority, listening_socket, loopback
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.process import Program
from clarion_cli.state import Addresses
from clarion_contract.service.secret_files import FILE

HOST: Final = loopback()
_ORIGINS: Final = "GATEWAY_ALLOWED_ORIGINS"
# The stack signs tokens with the local secret, so no other key source may be set as well. It has
# read all files of secrets, and the URL of its Redis has the login.
_LEFT_OUT: Final = (
    "CLARION_JWT_PUBLIC_KEY", "CLARION_JWT_JWKS_URL", "CLARION_JWT_ALGORITHMS",
    "CLARION_JWT_SECRET", "CLARION_REDIS_URL", "CLARION_REDIS_USERNAME", "CLARION_REDIS_PASSWORD",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes to start. The second gateway has the first one's ports plus one, and so on.

    Attributes:
        redis_url: an existing Redis; None: start a Valkey.
        handlers: the application's handlers for the gateways; None: none.
        allowed_origins: whose pages may connect, apart from those of this machine.
        pretty: readable logs instead of JSON.
        reload: gateways restart when the application's code changes.
        gateway_path_prefix: beginning of all public paths of the gateways.
        publisher_path_prefix: beginning of all public paths of the publisher.
        outbox_url: the PostgreSQL with the outbox; None: there is none.
        postgres_port: start a PostgreSQL at this port, which is that of ``outbox_url``; None: it
            runs already.
    """

    secret: str
    gateways: int
    gateway_port: int
    gateway_internal_port: int
    publisher_port: int
    publisher_internal_port: int
    redis_url: str | None
    handlers: str | None
    pretty: bool
    gateway_path_prefix: str = ""
    publisher_path_prefix: str = ""
    outbox_url: str | None = None
    postgres_port: int | None = None
    reload: bool = False
    allowed_origins: tuple[str, ...] = ()

    @property
    def addresses(self) -> Addresses:
        """The addresses at which clients and producers will find the stack."""
        below = f"{self.gateway_path_prefix}/" if self.gateway_path_prefix else ""
        return Addresses(
            gateways=tuple(
                f"http://{authority(HOST, self.gateway_port + index)}{below}"
                for index in range(self.gateways)
            ),
            publisher=f"http://{authority(HOST, self.publisher_port)}{self.publisher_path_prefix}",
            outbox=self.outbox_url if self.postgres_port is not None else None,
        )

    @property
    def ports(self) -> list[tuple[int, str, str]]:
        """All ports: the number, the process that listens, and the option that changes it."""
        ports = [
            (self.publisher_port, "publisher", "--publisher-port"),
            (self.publisher_internal_port, "publisher, internal", "--publisher-internal-port"),
        ]
        for index in range(self.gateways):
            name = f"gateway-{index + 1}"
            ports.append((self.gateway_port + index, name, "--gateway-port"))
            internal = self.gateway_internal_port + index
            ports.append((internal, f"{name}, internal", "--gateway-internal-port"))
        return ports

    def publisher(self, redis_url: str, inherited: Mapping[str, str]) -> Program:
        """The publisher."""
        origins = [
            f"http://{authority(host, self.gateway_port + index)}"
            for index in range(self.gateways)
            for host in (HOST, "localhost")
        ]
        environment = {
            # No load balancer routes to local services, so they need no pause before they stop. A
            # value from the shell wins, for users that want to watch a real drain.
            "PUBLISHER_DRAIN_PAUSE_SECONDS": "0",
            **self._shared("publisher", redis_url, inherited),
            "PUBLISHER_HOST": HOST,
            "PUBLISHER_PORT": str(self.publisher_port),
            "PUBLISHER_INTERNAL_HOST": HOST,
            "PUBLISHER_INTERNAL_PORT": str(self.publisher_internal_port),
            "PUBLISHER_PATH_PREFIX": self.publisher_path_prefix,
            "PUBLISHER_ALLOWED_ORIGINS": ",".join(origins),
        }
        if self.outbox_url is not None:
            for part in ("USERNAME", "PASSWORD", "URL"):  # the URL has the login
                environment.pop(f"PUBLISHER_OUTBOX_{part}", None)
                environment.pop(f"PUBLISHER_OUTBOX_{part}{FILE}", None)
            environment["PUBLISHER_OUTBOX_URL"] = self.outbox_url
        return Program("publisher", (sys.executable, "-m", "clarion_publisher"), environment)

    def gateway(self, index: int, redis_url: str, inherited: Mapping[str, str]) -> Program:
        """The gateway number ``index``, from 0."""
        name = f"gateway-{index + 1}"
        environment = {
            # The default needs more file descriptors than many machines give.
            "GATEWAY_MAX_CONNECTIONS": "5000",
            "GATEWAY_DRAIN_PAUSE_SECONDS": "0",
            "GATEWAY_DRAIN_SPREAD_SECONDS": "0.5",
            "GATEWAY_DRAIN_GRACE_SECONDS": "1",
            **self._shared(name, redis_url, inherited),
            "GATEWAY_HOST": HOST,
            "GATEWAY_PORT": str(self.gateway_port + index),
            "GATEWAY_INTERNAL_HOST": HOST,
            "GATEWAY_INTERNAL_PORT": str(self.gateway_internal_port + index),
            "GATEWAY_PATH_PREFIX": self.gateway_path_prefix,
            "GATEWAY_DEV_PUBLISHER_URL": self.addresses.publisher,
            "GATEWAY_DEV_GATEWAY_URLS": ",".join(self.addresses.gateways),
            "GATEWAY_DEV_KILL": "true",
        }
        if self.allowed_origins:
            from clarion_contract.service.settings import split_names  # noqa: PLC0415 - slow

            others = split_names(environment.get(_ORIGINS, ""))
            environment[_ORIGINS] = ",".join([*others, *self.allowed_origins])
        if self.handlers is not None:
            environment["GATEWAY_HANDLERS"] = self.handlers
        if self.reload:
            # A file that changes twice a second keeps its time, by which bytecode counts as fresh.
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return Program(name, (sys.executable, "-m", "clarion_gateway"), environment)

    def _shared(self, name: str, redis_url: str, inherited: Mapping[str, str]) -> dict[str, str]:
        kept = {
            key: value
            for key, value in inherited.items()
            if key.removesuffix(FILE) not in _LEFT_OUT
        }
        return {
            "CLARION_LOG_FORMAT": "console" if self.pretty else "json",
            **kept,
            "CLARION_JWT_SECRET": self.secret,
            "CLARION_POD": name,
            "CLARION_PROFILE": "dev",
            "CLARION_REDIS_URL": redis_url,
            "PYTHONUNBUFFERED": "1",
        }


def check_ports(plan: Plan) -> None:
    """Return if every port is free.

    Raises:
        Failure: a port is taken, is used twice, or does not exist.
    """
    wanted: dict[int, str] = {}
    for port, name, option in plan.ports:
        if port in wanted:
            raise Failure(
                f"port {port} is wanted twice: by {wanted[port]} and by {name}; choose another "
                f"with {option}",
                ExitCode.USAGE,
            )
        wanted[port] = name
        try:
            with listening_socket(HOST) as probe:
                probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it does not exist"
            raise Failure(
                f"cannot use port {port} for {name}: {reason}; choose another with {option}",
                ExitCode.SETUP,
            ) from None
