"""The AsyncAPI document of a gateway: its application's messages and its declared events."""
