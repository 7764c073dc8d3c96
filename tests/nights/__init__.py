"""Many nights at random: whatever happens, the tables of a strict target hold what the exports hold.

A history is plain data (`histories`), drawn from a seed (`dice`). `player` plays it: one run of the tap a night,
against the exports of `world` and into the tables of `target`. `oracle` and `plans` are an independent reading of
the specification: what a night may send and must leave behind, and which exports it reads. `search` plays thousands.
"""
