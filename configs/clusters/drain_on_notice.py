"""Tell Ray that the cloud takes this node back: `drain_on_notice.py aws|gcp`, started on every worker.

AWS announces the end of a spot node two minutes ahead, GCP 30 seconds. Both say so at a web address that only
the node itself can reach. From then on Ray places nothing on the node, and counts what dies with it as
preempted. Needs the standard library and the `ray` command; holds no credentials.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import time
from collections.abc import Callable
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

log = logging.getLogger("drain_on_notice")

# Where the metadata of a node is; the same address on both clouds. Never through a proxy.
METADATA = "http://169.254.169.254"
POLL_S = {"aws": 5.0, "gcp": 1.0}
LEFT_S = {"aws": 120, "gcp": 30}
_opener = build_opener(ProxyHandler({}))


def aws_notice(metadata: str) -> bool:
    """Whether AWS has announced the end of this spot node. Asks with a session token (IMDSv2)."""
    ask = Request(f"{metadata}/latest/api/token", method="PUT")
    ask.add_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
    session = _read(ask)
    notice = Request(f"{metadata}/latest/meta-data/spot/instance-action")
    notice.add_header("X-aws-ec2-metadata-token", session)
    try:
        return bool(_read(notice))
    except HTTPError as error:
        if error.code == 404:  # nothing announced
            return False
        raise


def gcp_notice(metadata: str) -> bool:
    """Whether GCP has announced the end of this node."""
    ask = Request(f"{metadata}/computeMetadata/v1/instance/preempted")
    ask.add_header("Metadata-Flavor", "Google")
    return _read(ask).strip() == "TRUE"


NOTICE: dict[str, Callable[[str], bool]] = {"aws": aws_notice, "gcp": gcp_notice}


def _read(request: Request) -> str:
    with _opener.open(request, timeout=3) as answer:
        return str(answer.read().decode())


def wait_for_notice(cloud: str, metadata: str, pause_s: float) -> None:
    """Return when the node's end has been announced. A service that does not answer is asked again."""
    while True:
        try:
            if NOTICE[cloud](metadata):
                return
        except (URLError, TimeoutError, ConnectionError) as error:
            log.warning("no answer from %s: %s; asking again", metadata, error)
        time.sleep(pause_s)


def drain(left_s: int) -> bool:
    """Ask Ray to place nothing on this node any more. Whether Ray has agreed."""
    words = ["ray", "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += [
        "--reason-message",
        "the cloud takes this node back",
        "--deadline-remaining-seconds",
        str(left_s),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        log.error("ray drain-node failed: %s", done.stderr.strip())
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cloud", choices=sorted(NOTICE))
    parser.add_argument("--metadata", default=METADATA, help="address of the metadata service, for tests")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    wait_for_notice(options.cloud, options.metadata, POLL_S[options.cloud])
    announced = time.monotonic()
    log.info("the cloud takes this node back in %d s", LEFT_S[options.cloud])
    while (left_s := LEFT_S[options.cloud] - int(time.monotonic() - announced)) > 0:
        if drain(left_s):
            log.info("drained")
            return
        time.sleep(1)


if __name__ == "__main__":
    main()
