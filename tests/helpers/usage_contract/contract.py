"""What the ports that count a key's usage have in common, as one suite for the real ones and the fakes.

A module that wants it run has a fixture `ports` and a class `Test...(UsageContract)`.
"""

from tests.helpers.usage_contract.counting import CountingContract
from tests.helpers.usage_contract.deeds import DeedContract
from tests.helpers.usage_contract.limits import LimitContract


class UsageContract(CountingContract, LimitContract, DeedContract):
    """The whole of it."""
