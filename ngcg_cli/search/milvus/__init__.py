"""An index in Milvus, embedded in this process or on a server: a `Store` (docs/milvus.md).

pymilvus is imported when such an index is opened, and not before.
"""
