"""Images and videos that clients give: taken in by upload or URL, checked, decoded and fitted. Torch-free.

Nothing here trusts a name, a declared type or a header: bytes are counted while they come, told apart by their first
bytes, and measured before they are decoded.
"""
