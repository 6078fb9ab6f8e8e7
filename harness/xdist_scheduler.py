"""How pytest-xdist deals out padding cases. Imported only where xdist is installed and runs."""

import re

from xdist.scheduler import LoadScopeScheduling


class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """Cases of one model go to one worker, which compiles its layer once; any other test goes wherever there is room.

    ``--dist loadgroup`` would do it by the mark ``xdist_group``, but xdist 3.8 writes the group into a private field of
    the test that pytest 9.2 no longer has, so every test is a group of its own there.
    """

    def _split_scope(self, nodeid: str) -> str:
        """What goes together: the model of a padding case, the axes of a proof, and else the test itself.

        Layers of the same axes call their op over the same symbols, and a process compares it with its fake once.
        """
        found = re.search(r"\[(.+?)-hidden\d+-(latent\d+-)?", nodeid)
        if found and nodeid.endswith("-proof]"):
            return f"proofs of a {'latent' if found[2] else 'hidden'} width"
        return found[1] if found else nodeid
