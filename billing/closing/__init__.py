"""The close of a subscription, without I/O: what an invoice for a window of time holds (C5, R19, R20, R22).

terms -> periods -> (quantities) -> rate -> difference -> discounts -> wallet. The steps in their order: `periods` says
what is rated and under which plan version, `billing.rating` prices it, `difference` leaves what was not billed yet,
`discounting` takes coupons off each period, `billing.wallets` pays first. `operations/closing.py` reads what they need
between them and writes what comes out.
"""
