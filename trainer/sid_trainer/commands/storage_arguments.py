"""The arguments by which people's commands are told of a storage: one set for all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from sid_trainer.config.endpoint import Addressing, Endpoint
from sid_trainer.storage import Storage, open_storage


def add_storage_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--storage``, and what tells of the S3 server."""
    parser.add_argument(
        "--storage", required=True, metavar="URI", help="folder of the run: s3:// or file://"
    )
    add_endpoint_arguments(parser)


def add_endpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what tells of the S3 server. Credentials come from the environment."""
    parser.add_argument("--endpoint", metavar="URL", help="S3 endpoint; default AWS")
    parser.add_argument("--region", help="region of the bucket; default AWS_REGION")
    parser.add_argument(
        "--addressing",
        choices=get_args(Addressing),
        default="auto",
        help="where the bucket's name stands: in the path, or before the server's name (virtual)",
    )
    parser.add_argument(
        "--ca-bundle",
        type=Path,
        metavar="FILE",
        help="PEM file of the authorities that may vouch for the server; default AWS_CA_BUNDLE",
    )


def endpoint_given(given: argparse.Namespace) -> Endpoint:
    """The S3 server that the arguments name."""
    return Endpoint(given.endpoint, given.region, given.addressing, given.ca_bundle)


def storage_given(given: argparse.Namespace) -> Storage:
    """The storage that the arguments name."""
    return open_storage(given.storage, endpoint_given(given))
