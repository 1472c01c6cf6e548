"""What runs inside a session beside JupyterLab: what the session has, the gallery, the start of the server."""

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Asked by Jupyter Server."""
    from sciencebox_session.extension import SessionExtension

    return [{"module": "sciencebox_session", "app": SessionExtension}]
