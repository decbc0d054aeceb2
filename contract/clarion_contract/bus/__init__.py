"""The bus between publishers and gateways: events, history, clocks, orders, presence in Redis."""
