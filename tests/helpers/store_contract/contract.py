"""The contract of the job store, event log, outbox and worker registry, as one suite for the real ones and the fakes.

A module that wants it run has a fixture `ports` and a class `Test...(StoreContract)`.
"""

from tests.helpers.store_contract.changes import ChangeContract
from tests.helpers.store_contract.leases import LeaseContract
from tests.helpers.store_contract.lists import ListContract
from tests.helpers.store_contract.lives import LifeContract
from tests.helpers.store_contract.next_job import NextJobContract
from tests.helpers.store_contract.preparing import PreparingContract
from tests.helpers.store_contract.reading import ReadingContract
from tests.helpers.store_contract.restoring import RestoringContract
from tests.helpers.store_contract.sending import SendingContract


class StoreContract(
    LifeContract,
    LeaseContract,
    PreparingContract,
    NextJobContract,
    ChangeContract,
    RestoringContract,
    ReadingContract,
    ListContract,
    SendingContract,
):
    """The whole of it."""
