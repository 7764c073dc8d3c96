"""Singer tap for the exports of Dynamic (dynamic.xyz)."""
