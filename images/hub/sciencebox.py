# zero-to-jupyterhub's configuration runs this at its end, from jupyterhub_config.d.
from sciencebox.hub.cluster import configure

configure(c)  # noqa: F821 - the configuration that is being loaded
