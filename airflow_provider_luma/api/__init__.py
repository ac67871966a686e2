"""
The gateway in pure functions, frozen data, and a few state machines that are handed the time.

Nothing in this folder opens a socket, sleeps, reads a clock, draws a random number or knows an Airflow
connection: what it needs of these is handed in. It decides; the blocking and the asynchronous shells in
:mod:`airflow_provider_luma.hooks` only send and sleep.
"""
