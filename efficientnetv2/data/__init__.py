"""The input pipeline: from stored pictures to batches on the device."""
