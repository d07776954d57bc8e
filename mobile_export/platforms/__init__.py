"""One file a platform, which exposes `PLATFORM`; its templates lie in `mobile_export/templates/<name>/`."""
