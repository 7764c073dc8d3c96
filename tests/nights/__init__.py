"""Many nights at random: whatever happens, the tables of a strict target hold what the exports hold.

`world` is Dynamic, `target` the other end of the pipe, `oracle` a reading of the specification. `histories` draws
histories, which are plain data, and shrinks the ones that fail; `player` plays them with the real tap.
"""
