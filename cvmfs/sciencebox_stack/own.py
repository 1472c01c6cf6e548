# ruff: noqa: PTH111, PTH118, PTH119  every Python runs this, and importing pathlib takes longer than all of it
"""What a user installed comes first, and pip installs there.

Of all processes pip alone is told so, and not by a variable that a kernel or a shell hands on: a virtual environment
that a user makes from there installs into itself. It is copied into the release as it is, so it imports nothing of this
package.
"""

import os
import site
import sys

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
PIP = ("pip", "pip3", f"pip{VERSION}")


def use(own: str) -> None:
    """Take the packages in ``own``, a folder from the user's home, where there are any."""
    home = os.path.join(os.path.expanduser("~"), own)
    site.addsitedir(os.path.join(home, "lib", f"python{VERSION}", "site-packages"))
    if installs_here(sys.orig_argv[1:]):
        os.environ.setdefault("PIP_PREFIX", home)


def installs_here(words: list[str]) -> bool:
    """Whether what follows ``python`` on a command line is pip, and pip for this environment."""
    starts = (place for place, word in enumerate(words) if word in {"-m", "-c"} or not word.startswith("-"))
    place = next(starts, None)
    if place is None:
        return False
    named = words[place + 1 : place + 2] == ["pip"] if words[place] == "-m" else os.path.basename(words[place]) in PIP
    return named and not any(word.split("=")[0] == "--python" for word in words)
