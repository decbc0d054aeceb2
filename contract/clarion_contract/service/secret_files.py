"""Secrets in the environment: in a variable, or in a file that a variable names.

Docker and Kubernetes mount secrets as files. `CLARION_JWT_SECRET_FILE` names the file of what
`CLARION_JWT_SECRET` would hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE: Final = "_FILE"
"""The end of a variable that names the file of a secret."""


def read_secret(name: str, environment: Mapping[str, str]) -> str | None:
    """The value of a variable, or of the file that its ``_FILE`` variant names.

    None: neither is set.

    One newline at the end of the file is left out. An empty variable counts as unset.

    Raises:
        ValueError: both are set, or the file cannot be read or is empty. The text shows neither
            value: a secret is easily put where its file belongs.

    >>> read_secret("CLARION_JWT_SECRET", {"CLARION_JWT_SECRET_FILE": "/run/secrets/jwt"})
    """
    given, path = environment.get(name), environment.get(name + FILE)
    if not path:
        return given or None
    if given:
        raise ValueError(f"expected one of {name} and {name}{FILE}, got both")
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise ValueError(
            f"cannot read the file that {name}{FILE} names: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"expected UTF-8 in the file that {name}{FILE} names") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"expected a secret in the file that {name}{FILE} names, got nothing")
    return secret
