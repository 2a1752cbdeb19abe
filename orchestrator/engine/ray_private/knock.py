"""Ask a cluster's head who it is, in a second or two; Ray itself tries for half a minute. Imports no Ray."""

from __future__ import annotations

from typing import Literal

Answer = Literal["yes", "token refused", "no Ray", "silence"]
METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""A question without arguments that every head answers whoever may talk to it."""
TIMEOUT_S = 2.0


def knock(address: str, token: str | None = None) -> Answer:
    """Return what the head at host:port says to who has this token, or none."""
    import grpc

    headers = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(METHOD)(b"", timeout=TIMEOUT_S, metadata=headers)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return "token refused"
            return "silence" if code is grpc.StatusCode.DEADLINE_EXCEEDED else "no Ray"
        except ValueError:  # no header can hold this token
            return "token refused"
    return "yes"
