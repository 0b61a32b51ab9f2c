"""Pictures in folders or in a CSV become TFRecords: `python -m`'s rooms."""
