"""The development page: a browser client that a gateway serves in the dev profile. Not in the production image."""
