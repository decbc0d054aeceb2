"""The protocol as data: how connections end, what is refused, and the form of each message.

The files are JSON, so that clients in any language can use them. docs/errors.md, the table of
`@clarion/client` and that of `clarion.client` come from them, and tests compare.
"""
