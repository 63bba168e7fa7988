"""Pools for scripted acceptors, and what to do with them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.dimse.pool import AssociationPool
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import ECHO, UNHURRIED, echo_answer, peer_of, serve, soon
from tests.kit.scripted import Script, ScriptedNode, scripted_acceptor


@contextlib.asynccontextmanager
async def pool_of(node: Any, *, limits: Limits = UNHURRIED, **options: Any) -> AsyncIterator[AssociationPool]:
    pool = AssociationPool(peer_of(node), limits=limits, **options)
    try:
        yield pool
    finally:
        await pool.aclose()
        assert "active=0 idle=0 opening=0 waiting=0" in repr(pool)


@contextlib.asynccontextmanager
async def pooled(*scripts: Script, **options: Any) -> AsyncIterator[tuple[AssociationPool, ScriptedNode]]:
    """Run the body with a pool for a scripted acceptor."""
    async with scripted_acceptor(*scripts) as node, pool_of(node, **options) as pool:
        yield pool, node


def state(pool: AssociationPool) -> str:
    return repr(pool).removeprefix("<AssociationPool SCRIPTED ").removesuffix(">")


async def ask(pool: AssociationPool, *contexts: ProposedContext) -> Association:
    async with pool.acquire(contexts or (ECHO,), soon()) as association:
        await echo(association, soon())
        return association


ECHOING = serve(echo_answer)
