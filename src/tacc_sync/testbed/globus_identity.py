"""The key with which the testbed's Globus Auth signs who somebody is (id_token, for logins of a person).

Guarantee: one key a testbed, kept in `ROOT/globus/jwk.pem`; the libraries are loaded when the first person
logs in, not before. Fails with: `ImportError` where pyjwt and cryptography are missing, which globus-sdk
brings.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALGORITHM = "RS512"


class Keys:
    """Signs, and shows the public half."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def _pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  see the module's guarantee
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

        with self._lock:
            if not self._path.exists():
                key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
                pem = key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(handle, "wb") as file:
                    file.write(pem)
            return self._path.read_bytes()

    def sign(self, claims: Mapping[str, Any], seconds: float) -> str:
        """An id_token with these claims."""
        import jwt  # noqa: PLC0415

        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": now + int(seconds)}, self._pem(), algorithm=ALGORITHM)

    def public(self) -> dict[str, Any]:
        """The JWK set."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
        from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415

        public: Any = load_pem_private_key(self._pem(), None).public_key()
        key = json.loads(RSAAlgorithm.to_jwk(public))
        return {"keys": [{**key, "alg": ALGORITHM, "use": "sig"}]}

    @staticmethod
    def configuration(base_url: str) -> dict[str, Any]:
        """Where everything is."""
        return {
            "issuer": base_url,
            "authorization_endpoint": f"{base_url}/v2/oauth2/authorize",
            "token_endpoint": f"{base_url}/v2/oauth2/token",
            "revocation_endpoint": f"{base_url}/v2/oauth2/token/revoke",
            "userinfo_endpoint": f"{base_url}/v2/oauth2/userinfo",
            "jwks_uri": f"{base_url}/jwk.json",
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "scopes_supported": ["openid", "email", "profile"],
            "claims_supported": ["sub", "aud", "iss", "iat", "exp", "preferred_username", "name", "email"],
        }
