"""Measuring a live server from outside: real recordings in real time, everything on the client's clock."""
