"""Flows that write through several stores in one transaction, without HTTP and without Temporal."""
