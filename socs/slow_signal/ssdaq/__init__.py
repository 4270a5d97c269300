"""What takes the place of SSDAQ: its classes, over this package; its control socket.

The names that programs import are those of the package ``ssdaq`` (in ``socs/drop_in``), which only
points here.
"""
