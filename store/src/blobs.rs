//! Blobs: bytes in a folder, named by their SHA-256.
