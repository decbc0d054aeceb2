"""The bus between publishers and gateways: publishing, history, clocks, orders and presence in Redis."""
