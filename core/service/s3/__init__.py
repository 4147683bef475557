"""The object storage ports over any S3 server, and presigned URLs."""
