"""Growing texts: answers, logs, builds, which are published piece by piece while they are written.

`piece` has the events of a text, `writer` rolls up what a producer writes. Redis keeps texts:
see `clarion_contract.bus.texts`.
"""
