"""Addresses that carry credentials: a raster is known without them, and read with them.

A signature is good for an hour, and whoever has it may read; so it is no part of a raster's name,
and goes into no index. Who knows the signed address tells it here, for this process.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

# Of Amazon (both versions, CloudFront too), Azure, Google; and what others call a secret.
_SECRET = re.compile(
    r"x-(amz|goog|oss)-.*|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|"
    r"se|sig|sp|spr|sr|srt|ss|st|sv|sip|skoid|sktid|skt|ske|sks|skv|rscc|rscd|rsce|rscl|rsct|"
    r"token|access_token|sas|sas_token|api_?key|subscription-key|auth|authorization",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"[?&](signature|sig|x-(amz|goog|oss)-signature)=", re.IGNORECASE)
_ALWAYS = re.compile(r"token|access_token|sas_token|api_?key|auth|authorization", re.IGNORECASE)

_addresses: dict[str, str] = {}


def unsigned(address: str) -> str:
    """A web address without the credentials in it: user and password, signature, token."""
    if not address.lower().startswith(("http://", "https://")):
        return address
    parts = urlsplit(address)
    # `st` or `policy` may mean anything where nothing is signed.
    secret = _SECRET if _SIGNED.search(address) else _ALWAYS
    query = "&".join(
        pair for pair in parts.query.split("&") if not secret.fullmatch(pair.partition("=")[0])
    )
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


def remember(address: str) -> str:
    """The name of the raster at an address; in this process it is read from that address."""
    name = unsigned(address)
    if name != address:
        _addresses[name] = address
    return name


def address_of(name: str) -> str:
    """Where a raster is read: the address with its credentials, where one is known."""
    return _addresses.get(name, name)


def hidden(text: str, name: str) -> str:
    """A message about a raster, without the address that it is read from."""
    address = _addresses.get(name)
    return text if address is None else text.replace(address, name)
