"""Random lives of subscriptions against a naive account of what they owe."""
