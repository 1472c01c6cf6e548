"""Start the session's server."""

import gc
import os

from sciencebox_session import environment


def main() -> None:
    """Run JupyterHub's single-user server until it is told to stop."""
    environment.apply(os.environ)
    # Importing a server makes many objects and hardly any garbage; looking for it takes a tenth of the start.
    gc.set_threshold(50_000, 20, 50)

    from jupyterhub.singleuser.extension import main as serve

    serve()


if __name__ == "__main__":
    main()
