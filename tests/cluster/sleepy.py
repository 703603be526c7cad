"""A feature whose blocks take a while without using a core."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from mgdask.features import SOAP, registry
from mgdask.features.naming import Named


class Sleepy(SOAP):
    """SOAP that sleeps before each block for ``$SLEEPY`` seconds.

    The time is no parameter, so that the files do not depend on it.
    """

    family: ClassVar[str] = "sleepy"

    def describe(self, environments, centers, out):
        time.sleep(float(os.environ.get("SLEEPY", "0")))
        return super().describe(environments, centers, out)


def register(assign=setattr) -> None:
    """Add the feature to the families that commands know."""
    assign(registry, "FEATURES", Named({**registry.FEATURES, Sleepy.family: Sleepy}))
