"""The cluster from the laptop: up, down, doctor, and studies that run there. Speaks SSH; imports no ray
itself.

What has to be done on a host is done by two programs that travel there as text (`onhost.py` with nothing but
the standard library, `onhead.py` with the cluster's own ray), so that laptop and cluster may differ in
version.
"""
