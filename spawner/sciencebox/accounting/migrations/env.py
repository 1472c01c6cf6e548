"""Alembic runs this: our tables, on the connection of `LeaseStore.migrate`, with a version table of our own."""

from alembic import context

from sciencebox.accounting.store import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
